//! A gateway in its own process, next to the benchmark that measures it.

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
    /// Starts a gateway with its accounts in this folder and these additional flags.
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
        // Fails if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
