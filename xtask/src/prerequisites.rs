//! What must be there before anything is compiled. On Debian as root it is installed; elsewhere one
//! line says what to install.

use std::{path::Path, process::Command};

use anyhow::bail;

use crate::steps::{MINUTE, output, step, works};

/// A thing that is needed, how to see that it is there, and Debian's package of it.
#[derive(Clone, Copy)]
pub(crate) struct Need {
    what: &'static str,
    is_there: fn() -> bool,
    package: &'static str,
}

/// To compile the binaries.
pub(crate) const BUILD: &[Need] = &[
    Need { what: "a C compiler", is_there: || works("cc", &["--version"]), package: "gcc" },
    Need { what: "a C++ compiler", is_there: || works("c++", &["--version"]), package: "g++" },
    Need { what: "make", is_there: || works("make", &["--version"]), package: "make" },
    Need { what: "pkg-config", is_there: || works("pkg-config", &["--version"]), package: "pkg-config" },
    Need {
        what: "OpenSSL's development files",
        is_there: || works("pkg-config", &["--exists", "openssl"]),
        package: "libssl-dev",
    },
];

/// What Playwright needs that can drive today's Chromium.
const NODE_MAJOR: u32 = 20;
const NODE_JS: Need = Need { what: "Node.js 20 or later", is_there: node_is_new, package: "nodejs" };
const NPM: Need = Need { what: "npm", is_there: || works("npm", &["--version"]), package: "npm" };

/// To run the page's tests.
pub(crate) const BROWSER: &[Need] =
    &[NODE_JS, NPM, Need { what: "Chromium", is_there: || chromium().is_some(), package: "chromium" }];

/// To run the Python client.
pub(crate) const PYTHON: &[Need] = &[Need {
    what: "Python 3 with venv",
    is_there: || works("python3", &["-c", "import venv, ensurepip"]),
    package: "python3-venv",
}];

/// To run the Java client, and engines.
pub(crate) const JAVA: &[Need] = &[
    Need { what: "a JDK, 17 or later", is_there: java_is_new, package: "default-jdk-headless" },
    Need { what: "Maven", is_there: || works("mvn", &["--version"]), package: "maven" },
];

/// To count instructions.
pub(crate) const VALGRIND: &[Need] =
    &[Need { what: "valgrind", is_there: || works("valgrind", &["--version"]), package: "valgrind" }];

/// To run the JavaScript client, and the peers of the race. Without nchan that is run, too, with one peer less.
pub(crate) const NODE: &[Need] = &[NODE_JS, NPM];
pub(crate) const NCHAN: &[Need] = &[
    Need { what: "nginx", is_there: || works("nginx", &["-v"]), package: "nginx" },
    Need {
        what: "nchan",
        is_there: || Path::new("/usr/lib/nginx/modules/ngx_nchan_module.so").is_file(),
        package: "libnginx-mod-nchan",
    },
];

/// Debian's own Rust for wasm, where rustup can add no target.
pub(crate) const DEBIAN_WASM: &[Need] = &[
    Need { what: "Debian's rustc", is_there: || Path::new("/usr/bin/rustc").is_file(), package: "rustc-web" },
    Need {
        what: "the sources of its standard library",
        is_there: || Path::new("/usr/lib/rustlib/src/rust/library/std/Cargo.toml").is_file(),
        package: "rust-web-src",
    },
];

pub(crate) fn ensure(needs: &[Need], no_install: bool) -> anyhow::Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.is_there)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let what = missing.iter().map(|need| need.what).collect::<Vec<_>>().join(", ");
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    let debian = works("apt-get", &["--version"]);
    if no_install || !debian || !is_root() {
        let how = format!("sudo apt-get install -y {}", packages.join(" "));
        if debian {
            bail!("missing: {what}. Install with: {how}");
        }
        bail!("missing: {what}. On Debian that is: {how}");
    }
    eprintln!("missing: {what}; installing {}", packages.join(" "));
    let mut update = Command::new("apt-get");
    step("apt-get update", 5 * MINUTE, update.args(["-qq", "update"]))?;
    let mut install = Command::new("apt-get");
    install.args(["-qq", "-y", "--no-install-recommends", "install"]).args(&packages);
    step("apt-get install", 15 * MINUTE, install.env("DEBIAN_FRONTEND", "noninteractive"))?;
    match missing.iter().find(|need| !(need.is_there)()) {
        None => Ok(()),
        Some(need) => bail!("{} is still missing after {} was installed", need.what, need.package),
    }
}

fn is_root() -> bool {
    output("id", &["-u"]).is_ok_and(|id| id == "0")
}

fn node_is_new() -> bool {
    major("node").is_some_and(|major| major >= NODE_MAJOR)
}

/// Programs are started from their source, which needs the compiler.
fn java_is_new() -> bool {
    major("javac").is_some_and(|major| major >= 17)
}

/// The major version of a program that prints something like `v20.1.0` or `javac 17.0.1`.
fn major(program: &str) -> Option<u32> {
    let version = output(program, &["--version"]).ok()?;
    version.trim_start_matches(|c: char| !c.is_ascii_digit()).split('.').next()?.parse().ok()
}

/// The browser's program.
pub(crate) fn chromium() -> Option<&'static str> {
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| works(name, &["--version"]))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::root;

    /// The lowest major version in a range like `^18.1 || >=20`.
    fn lowest(range: &str) -> u32 {
        let majors = range.split("||").map(|it| it.trim().trim_start_matches(|c: char| !c.is_ascii_digit()));
        majors.map(|it| it.split(['.', ' ']).next().unwrap().parse().unwrap()).min().unwrap()
    }

    #[test]
    fn all_that_npm_installs_runs_on_the_node_that_is_asked_for() {
        let files = ["web/e2e", "examples/javascript", "trials/peers/node", "xtask/engines/openapi/typescript"];
        for folder in files {
            let lock = std::fs::read_to_string(root().join(folder).join("package-lock.json")).unwrap();
            let lock: Value = serde_json::from_str(&lock).unwrap();
            for (package, about) in lock["packages"].as_object().unwrap() {
                if let Some(range) = about["engines"]["node"].as_str() {
                    assert!(lowest(range) <= NODE_MAJOR, "{folder}: {package} wants Node.js {range}");
                }
            }
        }
    }
}
