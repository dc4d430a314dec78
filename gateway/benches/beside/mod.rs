//! A gateway as a process of its own, beside what measures it.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use kafka::Embedded;
use tempfile::TempDir;

pub struct Gateway {
    pub child: Child,
    _folder: TempDir,
    pub address: String,
}

impl Gateway {
    /// With its accounts in this folder, and with these flags beside what all have.
    pub fn start(cluster: &Embedded, folder: TempDir, flags: &[String]) -> Self {
        let address = free_address();
        let kafka = cluster.settings();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command
            .args([format!("--listen={address}"), format!("--brokers={}", kafka.brokers), "--instance=bench".into()])
            .args(kafka.properties.iter().map(|property| format!("--kafka={property}")))
            .arg(format!("--store=sqlite:{}", folder.path().join("accounts.db").display()))
            .arg("--log=warn")
            .args(flags)
            .stdout(Stdio::null());
        Self { child: command.spawn().unwrap(), _folder: folder, address }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
