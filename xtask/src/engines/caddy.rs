//! A Caddy that can read the configuration of the `web` container: the one on the PATH if it is new enough, or one
//! that Go builds into the target folder.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::bail;

use crate::{
    root,
    steps::{MINUTE, output, step, works},
    target,
};

/// The version that is built.
const VERSION: &str = "v2.11.9";
/// What it takes to build it. A Go since 1.21 that may fetch toolchains fetches the one that is asked for.
const GO: (u32, u32) = (1, 26);

/// The program. Builds it if need be.
pub(super) fn caddy(no_install: bool) -> anyhow::Result<PathBuf> {
    let folder = target().join("caddy").join(VERSION);
    let built = folder.join("caddy");
    if let Some(there) = [PathBuf::from("caddy"), built.clone()].into_iter().find(|program| is_new(program)) {
        return Ok(there);
    }
    let (major, minor) = GO;
    let missing = format!("missing: a Caddy that knows `client_ip_hash`, or Go {major}.{minor} to build one");
    if no_install || !go_is_new() {
        bail!("{missing}");
    }
    let mut go = Command::new("go");
    go.args(["install", &format!("github.com/caddyserver/caddy/v2/cmd/caddy@{VERSION}")]).env("GOBIN", &folder);
    step("building Caddy", 30 * MINUTE, go.current_dir(target()))?;
    anyhow::ensure!(is_new(&built), "{} does not understand deploy/web/Caddyfile", built.display());
    Ok(built)
}

/// Whether it understands the configuration: what Debian has is too old.
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
