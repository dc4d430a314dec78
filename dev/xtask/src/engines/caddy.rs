//! Finds or builds a Caddy that supports the configuration of the `web` container: the one on the PATH if it is new
//! enough, or else one built with Go in the target folder.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    root,
    steps::{compile, output, works},
    target,
};

/// The version to build.
const VERSION: &str = "v2.11.9";
/// The Go version that builds it. Go 1.21 or later downloads that toolchain itself, unless this is disabled.
const GO: (u32, u32) = (1, 26);

/// Ensures that a Caddy exists or can be built.
pub(super) fn ensure(no_install: bool) -> anyhow::Result<()> {
    let (major, minor) = GO;
    let missing = format!("missing: a Caddy that supports `client_ip_hash`, or Go {major}.{minor} to build one");
    anyhow::ensure!(there().is_some() || !no_install && go_is_new(), missing);
    Ok(())
}

/// Returns the program; builds it if needed.
pub(crate) fn caddy(no_install: bool) -> anyhow::Result<PathBuf> {
    if let Some(there) = there() {
        return Ok(there);
    }
    ensure(no_install)?;
    let built = built();
    let mut go = Command::new("go");
    go.args(["install", &format!("github.com/caddyserver/caddy/v2/cmd/caddy@{VERSION}")]);
    compile("building Caddy", go.env("GOBIN", built.with_file_name("")).current_dir(target()))?;
    anyhow::ensure!(is_new(&built), "{} does not accept deploy/web/Caddyfile", built.display());
    Ok(built)
}

fn built() -> PathBuf {
    target().join("caddy").join(VERSION).join("caddy")
}

fn there() -> Option<PathBuf> {
    [PathBuf::from("caddy"), built()].into_iter().find(|program| is_new(program))
}

/// Returns whether this Caddy accepts the configuration. Debian's is too old.
fn is_new(program: &Path) -> bool {
    let config = root().join("deploy/web/Caddyfile").display().to_string();
    program.to_str().is_some_and(|program| works(program, &["validate", "--adapter", "caddyfile", "--config", &config]))
}

fn go_is_new() -> bool {
    let Ok(version) = output("go", &["env", "GOVERSION"]) else { return false };
    let mut numbers = version.trim_start_matches("go").split('.').map_while(|number| number.parse().ok());
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let fetches = version >= (1, 21) && output("go", &["env", "GOTOOLCHAIN"]).is_ok_and(|it| it != "local");
    version >= GO || fetches
}
