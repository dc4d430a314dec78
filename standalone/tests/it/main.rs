//! Tests that run the standalone program.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod cap;
mod delivery_log;
mod program;
mod replay;

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

/// A running program. It is killed when dropped, as by a power failure.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command that runs the program with this folder for its data.
fn standalone(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_standalone"));
    command.arg("--data").arg(data).stdin(Stdio::null());
    command
}
