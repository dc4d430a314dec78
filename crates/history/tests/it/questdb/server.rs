//! QuestDB servers for tests: the one that all tests share, one that a test may kill, and a proxy before either.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use history::{QuestDbStore, StoreError};
use reqwest::Client;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    sync::{Mutex, MutexGuard, watch},
};

/// How long a server may take to start.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// A server that runs.
#[derive(Clone, Debug)]
pub struct Server {
    /// Ends without a slash.
    pub url: String,
}

impl Server {
    /// The server that the tests share.
    #[expect(clippy::disallowed_methods, reason = "not a setting: the address of the tests' server")]
    pub fn shared() -> Self {
        let url = std::env::var("TOTEBOARD_TEST_QUESTDB").expect("TOTEBOARD_TEST_QUESTDB is the URL of a QuestDB");
        Self { url: url.trim_end_matches('/').to_owned() }
    }

    pub async fn open(&self, prefix: &str) -> Result<QuestDbStore, StoreError> {
        install_tls_provider();
        QuestDbStore::open(format!("{}/{prefix}", self.url).parse().unwrap()).await
    }

    /// Runs a statement, and returns its rows. The error is the server's.
    pub async fn query(&self, sql: &str) -> Result<Value, String> {
        install_tls_provider();
        let request = Client::new().get(format!("{}/exec", self.url)).query(&[("query", sql)]);
        let response = request.send().await.map_err(|error| error.to_string())?;
        let is_success = response.status().is_success();
        let text = response.text().await.map_err(|error| error.to_string())?;
        if !is_success {
            return Err(text);
        }
        let answer: Value = serde_json::from_str(&text).unwrap();
        Ok(answer["dataset"].clone())
    }

    /// The number that a query returns.
    pub async fn count(&self, from: &str) -> i64 {
        self.query(&format!("SELECT count() FROM {from}")).await.unwrap()[0][0].as_i64().unwrap()
    }
}

/// A server that one test at a time may start and kill.
pub struct OwnServer {
    recipe: Value,
    child: Option<Child>,
    _turn: MutexGuard<'static, ()>,
}

impl OwnServer {
    /// Waits for its turn. The server does not run yet.
    #[expect(clippy::disallowed_methods, reason = "not a setting: how the tests' own server is started")]
    pub async fn prepare() -> Self {
        static TURN: Mutex<()> = Mutex::const_new(());
        let turn = TURN.lock().await;
        let path = std::env::var("TOTEBOARD_TEST_QUESTDB_RECIPE")
            .expect("TOTEBOARD_TEST_QUESTDB_RECIPE is a file that says how to start a QuestDB");
        let recipe = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        Self { recipe, child: None, _turn: turn }
    }

    pub fn server(&self) -> Server {
        Server { url: self.recipe["url"].as_str().unwrap().to_owned() }
    }

    /// Its folder.
    pub fn data(&self) -> PathBuf {
        self.recipe["data"].as_str().unwrap().into()
    }

    pub async fn start(&mut self) {
        let words: Vec<&str> = self.recipe["command"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let log = File::options().create(true).append(true).open(self.recipe["log"].as_str().unwrap()).unwrap();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let end = Instant::now() + UP_WITHIN;
        while self.server().query("SELECT 1").await.is_err() {
            assert!(Instant::now() < end, "QuestDB did not start in time: see {}", self.recipe["log"]);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Kills it, as a power failure would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a proxy does with the responses of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Responses {
    Pass,
    /// The request arrives. Then the connection ends.
    Lose,
    /// The client waits for ever.
    Hold,
}

/// A proxy before a server.
pub struct Proxy {
    address: SocketAddr,
    pub responses: Arc<watch::Sender<Responses>>,
}

impl Proxy {
    pub async fn start(server: &Server) -> Self {
        let target = server.url.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let responses = Arc::new(watch::channel(Responses::Pass).0);
        let state = responses.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(&target).await.unwrap();
                tokio::spawn(pass(near, far, state.clone()));
            }
        });
        Self { address, responses }
    }

    pub fn server(&self) -> Server {
        Server { url: format!("http://{}", self.address) }
    }
}

async fn pass(near: TcpStream, far: TcpStream, responses: Arc<watch::Sender<Responses>>) {
    let (mut requests, mut to_client) = near.into_split();
    let (mut from_server, mut to_server) = far.into_split();
    let upwards = async move { copy(&mut requests, &mut to_server).await.map(drop) };
    let downwards = async move {
        let mut bytes = vec![0; 65_536];
        loop {
            let length = from_server.read(&mut bytes).await?;
            let state = *responses.borrow();
            match state {
                _ if length == 0 => return Ok(()),
                Responses::Pass => to_client.write_all(&bytes[..length]).await?,
                Responses::Lose => return Ok(()),
                Responses::Hold => std::future::pending().await,
            }
        }
    };
    let _: std::io::Result<()> = tokio::select! {
        ended = upwards => ended,
        ended = downwards => ended,
    };
}

/// An HTTP client needs one, even if it uses no TLS.
fn install_tls_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
