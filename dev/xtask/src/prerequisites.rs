//! Programs that must be installed first. On Debian, as root, they are installed automatically; elsewhere the error
//! says how to install them.

use std::{path::Path, process::Command};

use anyhow::bail;

use crate::steps::{MINUTE, npm_folder, output, step, works};

/// A required program or file: how to check for it, and which package has it.
#[derive(Clone, Copy)]
pub(crate) struct Need {
    what: &'static str,
    is_there: fn() -> bool,
    install: Install,
}

#[derive(Clone, Copy)]
enum Install {
    /// A Debian package.
    Debian(&'static str),
    /// An npm package, installed in our target folder because Debian's version is too old.
    Npm(&'static str),
}

use Install::{Debian, Npm};

/// To compile the binaries.
pub(crate) const BUILD: &[Need] = &[
    Need { what: "a C compiler", is_there: || works("cc", &["--version"]), install: Debian("gcc") },
    Need { what: "a C++ compiler", is_there: || works("c++", &["--version"]), install: Debian("g++") },
    Need { what: "make", is_there: || works("make", &["--version"]), install: Debian("make") },
    Need { what: "pkg-config", is_there: || works("pkg-config", &["--version"]), install: Debian("pkg-config") },
    Need {
        what: "OpenSSL's development files",
        is_there: || works("pkg-config", &["--exists", "openssl"]),
        install: Debian("libssl-dev"),
    },
];

/// Required by the first Playwright version that can drive current Chromium. Debian 12 has 18.
const NODE_MAJOR: u32 = 20;

/// To run the JavaScript client, and the race's Node.js servers.
pub(crate) const NODE: &[Need] = &[
    Need { what: "Node.js", is_there: || works("node", &["--version"]), install: Debian("nodejs") },
    Need { what: "npm", is_there: || works("npm", &["--version"]), install: Debian("npm") },
    Need { what: "Node.js 20 or later", is_there: node_is_new, install: Npm("node@20") },
];

/// To run the page's tests, with Node.js.
pub(crate) const CHROMIUM: &[Need] =
    &[Need { what: "Chromium", is_there: || chromium().is_some(), install: Debian("chromium") }];

/// To run the Python client.
pub(crate) const PYTHON: &[Need] = &[Need {
    what: "Python 3 with venv",
    is_there: || works("python3", &["-c", "import venv, ensurepip"]),
    install: Debian("python3-venv"),
}];

/// To run the Java client, and engines.
pub(crate) const JAVA: &[Need] = &[
    Need { what: "a JDK, 17 or later", is_there: java_is_new, install: Debian("default-jdk-headless") },
    Need { what: "Maven", is_there: || works("mvn", &["--version"]), install: Debian("maven") },
];

/// To count instructions.
pub(crate) const VALGRIND: &[Need] =
    &[Need { what: "valgrind", is_there: || works("valgrind", &["--version"]), install: Debian("valgrind") }];

/// To measure coverage, if rustup has no LLVM tools.
pub(crate) const LLVM: &[Need] =
    &[Need { what: "LLVM 19", is_there: || works("llvm-cov-19", &["--version"]), install: Debian("llvm-19") }];

/// To compare with nchan in the race. Optional.
pub(crate) const NCHAN: &[Need] = &[
    Need { what: "nginx", is_there: || works("nginx", &["-v"]), install: Debian("nginx") },
    Need {
        what: "nchan",
        is_there: || Path::new("/usr/lib/nginx/modules/ngx_nchan_module.so").is_file(),
        install: Debian("libnginx-mod-nchan"),
    },
];

/// To compile to wasm with Debian's Rust, if rustup can't add the target.
pub(crate) const DEBIAN_WASM: &[Need] = &[
    Need { what: "Debian's rustc", is_there: || Path::new("/usr/bin/rustc").is_file(), install: Debian("rustc-web") },
    Need {
        what: "the sources of its standard library",
        is_there: || Path::new("/usr/lib/rustlib/src/rust/library/std/Cargo.toml").is_file(),
        install: Debian("rust-web-src"),
    },
];

/// Installs what is missing. Fails if it can't or may not install, with the command to run.
pub(crate) fn ensure(needs: &[Need], no_install: bool) -> anyhow::Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.is_there)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let what = missing.iter().map(|need| need.what).collect::<Vec<_>>().join(", ");
    let of = |select: fn(&Need) -> Option<&'static str>| -> Vec<&str> {
        missing.iter().copied().filter_map(select).collect()
    };
    let of_debian = of(|need| if let Debian(package) = need.install { Some(package) } else { None });
    let of_npm = of(|need| if let Npm(package) = need.install { Some(package) } else { None });
    let debian = works("apt-get", &["--version"]);
    let can_install = of_debian.is_empty() || debian && is_root();
    if no_install || !can_install {
        let npm = format!("npm install --prefix {}", npm_folder().display());
        let commands = [("sudo apt-get install -y".to_owned(), &of_debian), (npm, &of_npm)];
        let commands = commands.iter().filter(|(_, packages)| !packages.is_empty());
        let how: Vec<String> =
            commands.map(|(command, packages)| format!("{command} {}", packages.join(" "))).collect();
        let how = how.join(" && ");
        if debian {
            bail!("missing: {what}. Install with: {how}");
        }
        bail!("missing: {what}. On Debian, install with: {how}");
    }
    eprintln!("missing: {what}; installing {}", [of_debian.as_slice(), &of_npm].concat().join(" "));
    if !of_debian.is_empty() {
        let mut update = Command::new("apt-get");
        step("apt-get update", 5 * MINUTE, update.args(["-qq", "update"]))?;
        let mut install = Command::new("apt-get");
        install.args(["-qq", "-y", "--no-install-recommends", "install"]).args(&of_debian);
        step("apt-get install", 15 * MINUTE, install.env("DEBIAN_FRONTEND", "noninteractive"))?;
    }
    // Debian's version, just installed, may be new enough.
    if missing.iter().any(|need| matches!(need.install, Npm(_)) && !(need.is_there)()) {
        let mut install = Command::new("npm");
        install.args(["install", "--no-audit", "--no-fund", "--silent", "--prefix"]).arg(npm_folder()).args(&of_npm);
        step("npm install", 10 * MINUTE, &mut install)?;
    }
    match missing.iter().find(|need| !(need.is_there)()) {
        None => Ok(()),
        Some(need) => bail!("{} is still missing after its installation", need.what),
    }
}

fn is_root() -> bool {
    output("id", &["-u"]).is_ok_and(|id| id == "0")
}

fn node_is_new() -> bool {
    major("node").is_some_and(|major| major >= NODE_MAJOR)
}

/// Checks `javac`: Java programs are started from source, which needs the compiler.
fn java_is_new() -> bool {
    major("javac").is_some_and(|major| major >= 17)
}

/// Returns the major version of a program that prints, for example, `v20.1.0` or `javac 17.0.1`.
fn major(program: &str) -> Option<u32> {
    let version = output(program, &["--version"]).ok()?;
    version.trim_start_matches(|c: char| !c.is_ascii_digit()).split('.').next()?.parse().ok()
}

/// Returns the name of the browser's program, if it is installed.
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
        let files = [
            "web/e2e",
            "examples/javascript",
            "dev/conformance",
            "dev/trials/peers/node",
            "dev/xtask/engines/openapi/typescript",
        ];
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
