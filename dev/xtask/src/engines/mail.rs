//! A mail server on loopback, without passwords, which keeps what it gets in memory.

use std::path::Path;

use serde_json::{Value, json};

use super::{free_ports, java, libraries};

/// Returns how it is started, and its addresses.
pub(super) fn recipe(folder: &Path) -> anyhow::Result<Value> {
    let libraries = libraries("mail", folder)?;
    let [smtp, api] = free_ports(2)[..] else { unreachable!("two were asked for") };
    let mut command = vec!["java".to_owned()];
    command.extend(java(&libraries, &["-Xmx320m", "-Dgreenmail.auth.disabled", "-Dgreenmail.smtp.hostname=127.0.0.1"]));
    let options = [
        format!("-Dgreenmail.smtp.port={smtp}"),
        "-Dgreenmail.api.hostname=127.0.0.1".to_owned(),
        format!("-Dgreenmail.api.port={api}"),
    ];
    command.splice(1..1, options);
    command.push("com.icegreen.greenmail.standalone.GreenMailStandaloneRunner".to_owned());
    let api = format!("127.0.0.1:{api}");
    Ok(json!({
        // Its API is there last.
        "server": { "name": "the mail server", "command": command, "address": api, "log": folder.join("mail.log") },
        "smtp": format!("127.0.0.1:{smtp}"),
        "api": format!("http://{api}"),
    }))
}
