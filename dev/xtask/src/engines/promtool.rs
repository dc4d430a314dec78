//! Tests the alerts with promtool: the one on the PATH, or the one from Debian's package. That package is unpacked in
//! the target folder, not installed, because its installation would start a server.

use std::{path::PathBuf, process::Command};

use anyhow::Context;

use crate::{
    root,
    steps::{MINUTE, empty_folder, step, works},
    target,
};

/// Ensures that promtool exists or can be downloaded.
pub(super) fn ensure(no_install: bool) -> anyhow::Result<()> {
    let debian = works("apt-get", &["--version"]) && works("dpkg-deb", &["--version"]);
    anyhow::ensure!(there().is_some() || !no_install && debian, "missing: promtool, which comes with Prometheus");
    Ok(())
}

pub(super) fn test_alerts(no_install: bool) -> anyhow::Result<()> {
    let promtool = match there() {
        Some(there) => there,
        None => {
            ensure(no_install)?;
            unpack()?;
            there().context("the promtool in Debian's prometheus package cannot be run")?
        }
    };
    let mut promtool = Command::new(promtool);
    promtool.current_dir(root().join("deploy/prometheus")).args(["test", "rules", "alerts.test.yml"]);
    step("alerts in Prometheus", MINUTE, &mut promtool)
}

fn unpack() -> anyhow::Result<()> {
    let folder = target().join("prometheus");
    empty_folder(&folder)?;
    let mut download = Command::new("apt-get");
    step(
        "Debian's package of Prometheus",
        5 * MINUTE,
        download.args(["-qq", "download", "prometheus"]).current_dir(&folder),
    )?;
    let package = std::fs::read_dir(&folder)?.next().context("apt-get downloaded nothing")??.path();
    let mut unpack = Command::new("dpkg-deb");
    step("unpacking the package", MINUTE, unpack.arg("-x").arg(package).arg(&folder))
}

fn there() -> Option<PathBuf> {
    let is_one = |program: &PathBuf| program.to_str().is_some_and(|program| works(program, &["--version"]));
    [PathBuf::from("promtool"), target().join("prometheus/usr/bin/promtool")].into_iter().find(is_one)
}
