//! What developers who build on the system have. Builds the SDKs' packages, installs each into an empty project, and tests
//! it there, as a user has it; and checks a gateway from outside.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context;

use crate::{
    programs::{binary, python},
    root,
    steps::{MINUTE, empty_folder, remove_folder, step},
    target,
};

/// Needs Node.js, Python, Chromium, and the packages of the page's tests.
pub(crate) fn test(page: &Path) -> anyhow::Result<()> {
    javascript(page)?;
    python_package(page)?;
    conformance(page)
}

fn conformance(page: &Path) -> anyhow::Result<()> {
    install_conformance()?;
    let folder = root().join("dev/conformance");
    let mut node = with_toteboard(page, &folder);
    node.arg("node").arg(folder.join("check.mjs"));
    step("the protocol, checked from outside", 5 * MINUTE, &mut node)
}

/// Installs the packages of the program that checks the protocol.
pub(crate) fn install_conformance() -> anyhow::Result<()> {
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--silent"]).current_dir(root().join("dev/conformance"));
    step("npm packages of the conformance suite", 10 * MINUTE, &mut npm)
}

fn javascript(page: &Path) -> anyhow::Result<()> {
    let sdk = root().join("sdk/javascript");
    let project = target().join("sdk/javascript");
    empty_folder(&project)?;
    let npm = |folder: &Path, arguments: &[&str]| {
        let mut npm = Command::new("npm");
        npm.args(arguments).current_dir(folder);
        npm
    };
    step(
        "npm packages of the JavaScript SDK",
        10 * MINUTE,
        &mut npm(&sdk, &["ci", "--no-audit", "--no-fund", "--silent"]),
    )?;
    remove_folder(&sdk.join("dist"))?;
    step("the JavaScript SDK", 5 * MINUTE, &mut npm(&sdk, &["run", "--silent", "build"]))?;
    let mut pack = npm(&sdk, &["pack", "--silent", "--pack-destination"]);
    step("its package", MINUTE, pack.arg(&project).stdout(Stdio::null()))?;
    fs::write(project.join("package.json"), r#"{ "private": true, "type": "module" }"#)?;
    let mut install = npm(&project, &["install", "--no-audit", "--no-fund", "--silent"]);
    step("its package in an empty project", 10 * MINUTE, install.arg(package(&project, "tgz")?))?;
    fs::copy(sdk.join("test/toteboard.test.mjs"), project.join("toteboard.test.mjs"))?;
    let mut node = with_toteboard(page, &sdk);
    node.current_dir(&project).args(["node", "--test", "--test-reporter=spec", "toteboard.test.mjs"]);
    step("tests of the JavaScript SDK", 10 * MINUTE, &mut node)?;
    let mut browser = with_toteboard(page, &project);
    browser.args(["node", "--test", "--test-reporter=spec"]).arg(sdk.join("test/browser.test.mjs"));
    step("tests of the JavaScript SDK in a browser", 5 * MINUTE, &mut browser)
}

fn python_package(page: &Path) -> anyhow::Result<()> {
    let sdk = root().join("sdk/python");
    let packages = target().join("sdk/python");
    empty_folder(&packages)?;
    let mut build = Command::new(python(&sdk.join("build.txt"), "sdk-build")?);
    build.args(["-m", "build", "--no-isolation", "--outdir"]).arg(&packages).arg(&sdk).stdout(Stdio::null());
    step("the Python SDK", 5 * MINUTE, &mut build)?;
    for (kind, name) in [("gz", "sdk-source"), ("whl", "sdk")] {
        // Nothing else may be in its environment.
        remove_folder(&target().join("python").join(name))?;
        let requirements = packages.join(format!("{kind}.txt"));
        fs::write(&requirements, format!("{}\n", package(&packages, kind)?.display()))?;
        let python = python(&requirements, name)?;
        let mut import = Command::new(&python);
        step("its package in an empty environment", MINUTE, import.args(["-c", "import toteboard"]))?;
        if kind == "whl" {
            let mut tests = with_toteboard(page, &sdk);
            tests.arg(python).arg(sdk.join("tests/test_toteboard.py")).arg("--verbose");
            step("tests of the Python SDK", 10 * MINUTE, tests.env("PYTHONDONTWRITEBYTECODE", "1"))?;
        }
    }
    Ok(())
}

/// The package of this kind in a folder.
fn package(folder: &Path, kind: &str) -> anyhow::Result<PathBuf> {
    let files = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let mut packages = files.filter(|path| path.extension().is_some_and(|it| it == kind));
    packages.next().with_context(|| format!("no package in {}", folder.display()))
}

/// A command that starts all of Toteboard and then the command in its arguments.
fn with_toteboard(page: &Path, sdk: &Path) -> Command {
    let mut node = Command::new("node");
    node.arg(root().join("sdk/with_toteboard.mjs"));
    node.env("STANDALONE", binary("standalone")).env("PAGE", page).env("SDK", sdk).stdin(Stdio::null());
    node
}
