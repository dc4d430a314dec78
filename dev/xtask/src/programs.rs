//! Builds programs, and installs the libraries of others.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    steps::{MINUTE, compile, remove_folder, step},
    target,
};

pub(crate) fn build(what: &[&str]) -> anyhow::Result<()> {
    let mut cargo = Command::new("cargo");
    compile("compiling the binaries", cargo.arg("build").args(what))
}

pub(crate) fn binary(name: &str) -> PathBuf {
    target().join("debug").join(name)
}

/// Cargo arguments that select all programs and tests. They are built together because tests enable more features of
/// some dependencies: separate builds would compile our crates twice.
pub(crate) const PROGRAMS_AND_TESTS: [&str; 3] = ["--workspace", "--bins", "--tests"];

pub(crate) fn compile_all() -> anyhow::Result<()> {
    compile("compiling programs and tests", Command::new("cargo").arg("build").args(PROGRAMS_AND_TESTS))
}

/// Copies the dependencies of a pom.xml into an empty folder.
pub(crate) fn jars(pom: &Path, folder: &Path, name: &str) -> anyhow::Result<()> {
    remove_folder(folder)?;
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"]);
    maven.arg(format!("-DoutputDirectory={}", folder.display())).arg("-f").arg(pom);
    step(&format!("libraries of {name}"), 10 * MINUTE, &mut maven)
}

/// Returns the Python of a virtual environment with these packages; creates it if needed.
pub(crate) fn python(requirements: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let venv = target().join("python").join(name);
    let python = venv.join("bin/python");
    if !python.is_file() {
        let mut make = Command::new("python3");
        step("a Python environment", 5 * MINUTE, make.args(["-m", "venv"]).arg(&venv))?;
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(requirements);
    step(&format!("Python packages: {name}"), 10 * MINUTE, &mut pip)?;
    Ok(python)
}
