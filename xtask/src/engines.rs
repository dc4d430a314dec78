//! Tests on real engines, started here on loopback and stopped again.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use clap::Args;

use crate::{
    commands::{binary, build, python},
    prerequisites, root,
    steps::{MINUTE, step},
    target,
};

/// How long an engine may take to come up.
const UP_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug, Default, Args)]
pub(crate) struct Engines {
    /// A MongoDB to use instead of one that is started here; databases named toteboard-test are made in it.
    #[arg(long, value_name = "URL")]
    mongodb: Option<String>,
}

/// Ends with its handle.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Engines {
    pub(crate) fn execute(self, no_install: bool) -> anyhow::Result<()> {
        prerequisites::ensure(prerequisites::BUILD, no_install)?;
        prerequisites::ensure(prerequisites::PYTHON, no_install)?;
        let logs = target().join("engines");
        fs::create_dir_all(&logs)?;
        let (_server, mongodb) = match self.mongodb {
            Some(url) => (None, url),
            None => {
                prerequisites::ensure(prerequisites::JAVA, no_install)?;
                let (server, url) = mongodb(&logs)?;
                (Some(server), url)
            }
        };
        let mongodb = mongodb.trim_end_matches('/');
        let mut cargo = Command::new("cargo");
        cargo.args(["test", "--workspace", "--quiet", "--", "--ignored", "mongo::"]);
        cargo.env("TOTEBOARD_TEST_MONGODB", format!("{mongodb}/toteboard-test-contract"));
        step("the contract of stores on MongoDB", 20 * MINUTE, &mut cargo)?;
        build(&["--workspace", "--bins"])?;
        openapi(&logs, &format!("{mongodb}/toteboard-test-openapi"))
    }
}

/// A port that nobody has just now.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Starts a server that speaks MongoDB's protocol, with an empty file.
fn mongodb(logs: &Path) -> anyhow::Result<(Running, String)> {
    let recipe = root().join("xtask/engines/mongodb");
    let libraries = logs.join("mongodb-libraries");
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"]);
    maven.arg(format!("-DoutputDirectory={}", libraries.display())).arg("-f").arg(recipe.join("pom.xml"));
    step("libraries of a MongoDB-speaking server", 10 * MINUTE, &mut maven)?;
    let data = logs.join("mongodb-data");
    for old in fs::read_dir(logs)?.filter_map(Result::ok).map(|entry| entry.path()) {
        if old.is_file() && old.file_stem() == data.file_stem() {
            fs::remove_file(old)?;
        }
    }
    let port = free_port()?;
    let mut java = Command::new("java");
    java.arg("-cp").arg(libraries.join("*")).arg(recipe.join("Mongo.java")).arg(port.to_string()).arg(data);
    let log = logs.join("mongodb.log");
    let mut running = start(java, &log)?;
    let end = Instant::now() + UP_WITHIN;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(running.0.try_wait()?.is_none(), "the MongoDB-speaking server ended: see {}", log.display());
        ensure!(Instant::now() < end, "the MongoDB-speaking server does not come up: see {}", log.display());
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok((running, format!("mongodb://127.0.0.1:{port}")))
}

fn start(mut command: Command, log: &PathBuf) -> anyhow::Result<Running> {
    let file = File::create(log)?;
    let program = command.get_program().to_string_lossy().into_owned();
    let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn();
    Ok(Running(child.with_context(|| program)?))
}

/// Compares the description of the REST interface with what a server on that store does.
fn openapi(logs: &Path, store: &str) -> anyhow::Result<()> {
    let python = python(&root().join("xtask/engines/openapi/requirements.txt"), "openapi")?;
    let mut standalone = Command::new(binary("standalone"));
    standalone.args(["--listen", "127.0.0.1:0", "--attempts-per-minute", "1000000", "--store", store]);
    standalone.arg("--data").arg(logs.join("standalone-data"));
    standalone.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(logs.join("standalone.log"))?);
    let mut running = Running(standalone.spawn().context("the standalone program")?);
    let (mut url, mut password) = (None, None);
    for line in BufReader::new(running.0.stdout.take().expect("it is piped")).lines() {
        let line = line?;
        url = line.strip_prefix("Toteboard is at ").map(str::to_owned).or(url);
        password = line.rsplit_once(" with the password ").map(|(_, word)| word.to_owned()).or(password);
        if url.is_some() && password.is_some() {
            break;
        }
    }
    let (Some(url), Some(password)) = (url, password) else {
        bail!("the standalone program ended: see {}", logs.join("standalone.log").display());
    };
    let mut check = Command::new(python);
    check.arg(root().join("xtask/engines/openapi/check.py")).args([&url, "demo", &password]);
    step("the REST interface does what it says", 15 * MINUTE, check.current_dir(logs))
}
