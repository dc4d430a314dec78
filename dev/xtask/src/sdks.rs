//! What developers who build on the system have. Builds the SDKs' packages, installs each into an empty project, and tests
//! it there, as a user has it; and checks a gateway from outside.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context;

use crate::{
    prerequisites,
    programs::{binary, python},
    root,
    steps::{MINUTE, empty_folder, remove_folder, step},
    target,
};

const NODE_TEST: &[&str] = &["node", "--test", "--test-reporter=spec"];

/// Needs Node.js, Python, Chromium, and the packages of the page's tests.
pub(crate) fn test(page: &Path) -> anyhow::Result<()> {
    javascript(page)?;
    python_package(page)?;
    conformance(page)
}

/// Compares the digests of this many frames with the boards, in each SDK. Needs the same as [`test`].
pub(crate) fn check_digests(page: &Path, frames: u32, limit: Duration) -> anyhow::Result<()> {
    let project = javascript_project()?;
    let mut checks = javascript_test(page, &project, "digests.mjs")?;
    let python = python_environment(&python_packages()?, "whl")?;
    let sdk = root().join("sdk/python");
    let mut python_checks = with_toteboard(page, &sdk);
    python_checks.arg(python).arg(sdk.join("tests/digests.py"));
    for (name, checks) in [("JavaScript", &mut checks), ("Python", &mut python_checks)] {
        // So fast that frames come at the rate that the SDK can take; much faster, and the program can't keep up.
        checks.env("TOTEBOARD_FRAMES", frames.to_string()).env("TOTEBOARD_SPEED", "60");
        step(&format!("digests of {frames} frames in the {name} SDK"), limit, checks)?;
    }
    Ok(())
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
    let project = javascript_project()?;
    let mut tests = javascript_test(page, &project, "toteboard.test.mjs")?;
    step("tests of the JavaScript SDK", 10 * MINUTE, &mut tests)?;
    let chromium = prerequisites::chromium().context("Chromium cannot be started")?;
    let mut browser = with_toteboard(page, &project);
    browser.env("CHROMIUM", chromium).args(NODE_TEST).arg(root().join("sdk/javascript/test/browser.test.mjs"));
    step("tests of the JavaScript SDK in a browser", 5 * MINUTE, &mut browser)
}

/// Packs the JavaScript SDK and installs it in an empty project, whose folder is returned.
fn javascript_project() -> anyhow::Result<PathBuf> {
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
    Ok(project)
}

/// A command that runs one of the SDK's tests in a project that has the package.
fn javascript_test(page: &Path, project: &Path, file: &str) -> anyhow::Result<Command> {
    let sdk = root().join("sdk/javascript");
    // It imports the package by its name, so it must be in the project.
    fs::copy(sdk.join("test").join(file), project.join(file))?;
    let mut node = with_toteboard(page, &sdk);
    node.current_dir(project).args(if file.ends_with(".test.mjs") { NODE_TEST } else { &["node"] }).arg(file);
    Ok(node)
}

fn python_package(page: &Path) -> anyhow::Result<()> {
    let sdk = root().join("sdk/python");
    let packages = python_packages()?;
    python_environment(&packages, "gz")?;
    let python = python_environment(&packages, "whl")?;
    let mut tests = with_toteboard(page, &sdk);
    tests.arg(python).arg(sdk.join("tests/test_toteboard.py")).arg("--verbose");
    step("tests of the Python SDK", 10 * MINUTE, tests.env("PYTHONDONTWRITEBYTECODE", "1"))
}

/// Builds the Python SDK's packages, and returns their folder.
fn python_packages() -> anyhow::Result<PathBuf> {
    let sdk = root().join("sdk/python");
    let packages = target().join("sdk/python");
    empty_folder(&packages)?;
    let mut build = Command::new(python(&sdk.join("build.txt"), "sdk-build")?);
    build.args(["-m", "build", "--no-isolation", "--outdir"]).arg(&packages).arg(&sdk).stdout(Stdio::null());
    step("the Python SDK", 5 * MINUTE, &mut build)?;
    Ok(packages)
}

/// Installs the package of this kind, `gz` or `whl`, in an empty environment, whose Python is returned.
fn python_environment(packages: &Path, kind: &str) -> anyhow::Result<PathBuf> {
    let name = format!("sdk-{kind}");
    // Nothing else may be in its environment.
    remove_folder(&target().join("python").join(&name))?;
    let requirements = packages.join(format!("{kind}.txt"));
    fs::write(&requirements, format!("{}\n", package(packages, kind)?.display()))?;
    let python = python(&requirements, &name)?;
    let mut import = Command::new(&python);
    step("its package in an empty environment", MINUTE, import.args(["-c", "import toteboard"]))?;
    Ok(python)
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
