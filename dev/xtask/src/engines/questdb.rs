//! Starts QuestDB for benchmarks, and tests the history's store on it: on a server that all tests share, and on one that
//! tests start and kill.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;
use serde_json::{Value, json};

use super::{Running, free_ports, libraries, start};
use crate::steps::{MINUTE, empty_folder, step};

const USER: &str = "toteboard";
const PASSWORD: &str = "questdb-secret";

pub(super) fn test(folder: &Path) -> anyhow::Result<()> {
    let libraries = libraries("questdb", folder)?;
    let shared = prepare(&libraries, &folder.join("questdb"), "")?;
    let own = prepare(&libraries, &folder.join("questdb-killed"), &format!("{USER}:{PASSWORD}@"))?;
    let recipe = folder.join("questdb-killed.json");
    fs::write(&recipe, own.to_string())?;
    let _server = start(&shared)?;
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--workspace", "--quiet", "--", "--ignored", "questdb::"]);
    cargo.env("TOTEBOARD_TEST_QUESTDB", shared["url"].as_str().unwrap_or_default());
    cargo.env("TOTEBOARD_TEST_QUESTDB_RECIPE", recipe);
    step("tests on QuestDB", 10 * MINUTE, &mut cargo)
        .with_context(|| format!("logs are {} and {}", shared["log"], own["log"]))
}

/// Starts a server without any data, and returns its URL.
pub(super) fn serve(folder: &Path) -> anyhow::Result<(Running, String)> {
    let recipe = prepare(&libraries("questdb", folder)?, &folder.join("questdb"), "")?;
    Ok((start(&recipe)?, recipe["url"].as_str().context("a recipe has a URL")?.to_owned()))
}

/// Without it, each query is logged, which costs as much as a small query does.
const LOG: &str = "writers=stdout\nw.stdout.class=io.questdb.log.LogConsoleWriter\nw.stdout.level=ERROR\n";

/// The server's own file among the libraries.
fn jar(libraries: &Path) -> anyhow::Result<PathBuf> {
    let files = fs::read_dir(libraries)?.map(|file| Ok(file?.path())).collect::<std::io::Result<Vec<PathBuf>>>()?;
    let is_server =
        |file: &PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("questdb-"));
    files.into_iter().find(is_server).with_context(|| format!("no QuestDB in {}", libraries.display()))
}

/// Returns a recipe that starts a server with an empty folder, and the server's URL. `credentials` of the URL are
/// required by the server.
fn prepare(libraries: &Path, data: &Path, credentials: &str) -> anyhow::Result<Value> {
    empty_folder(data)?;
    fs::create_dir(data.join("conf"))?;
    let ports = free_ports(3);
    let mut settings = format!(
        "http.bind.to=127.0.0.1:{}\n\
         http.min.net.bind.to=127.0.0.1:{}\n\
         pg.net.bind.to=127.0.0.1:{}\n\
         line.tcp.enabled=false\n\
         telemetry.enabled=false\n\
         cairo.commit.mode=sync\n\
         shared.worker.count=2\n\
         # Tests suspend a table, as a full disk would.\n\
         dev.mode.enabled=true\n",
        ports[0], ports[1], ports[2]
    );
    if !credentials.is_empty() {
        settings.push_str(&format!("http.user={USER}\nhttp.password={PASSWORD}\n"));
    }
    fs::write(data.join("conf/server.conf"), settings)?;
    fs::write(data.join("conf/log.conf"), LOG)?;
    let mut command = vec!["java", "-Xms64m", "-Xmx512m", "-XX:+UseParallelGC"];
    command.extend(["--add-opens", "java.base/java.nio=ALL-UNNAMED", "--add-opens", "java.base/java.lang=ALL-UNNAMED"]);
    let (jar, data) = (jar(libraries)?.display().to_string(), data.display().to_string());
    command.extend(["-p", &jar, "-m", "io.questdb/io.questdb.ServerMain", "-d", &data]);
    let address = format!("127.0.0.1:{}", ports[0]);
    Ok(json!({
        "name": "QuestDB",
        "command": command,
        "address": address,
        "url": format!("http://{credentials}{address}"),
        "data": data,
        "log": format!("{data}.log"),
    }))
}
