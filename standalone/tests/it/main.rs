//! The standalone program, from outside.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod cap;
mod delivery_log;
mod program;

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

/// A running program. Killed with its handle if it has not ended, as a power cut would.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program with a folder for its data.
fn standalone(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_standalone"));
    command.arg("--data").arg(data).stdin(Stdio::null());
    command
}
