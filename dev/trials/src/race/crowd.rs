//! Many clients in a separate process, so that their CPU time and memory are not counted for the server.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use odds::{Digest, Region};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// How many clients join at the same time, if not said otherwise: less than Linux's default limit of a listen queue.
pub(super) const AT_ONCE: usize = 4_000;
const EXACT_WITHIN: Duration = Duration::from_secs(20);

/// Where the clients connect, and how they sign in.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: String,
    pub path: String,
    /// The `auth` data of Socket.IO; `None` for a plain websocket.
    pub auth: Option<String>,
    /// Whether a client counts as joined only when it has its board.
    pub board: bool,
    /// Whether the clients ask for compression, and insist on it.
    pub compression: bool,
    /// The server's certificate; without it, the clients don't use TLS.
    pub certificate: Option<PathBuf>,
    /// The region with whose cursor clients come back when their connection ends; without it, they don't.
    pub returns: Option<Region>,
    /// How many clients may be joining at the same time.
    pub at_once: usize,
}

/// The number of clients, how many of them record when they saw each step, and how many of those mirror the board.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub clients: usize,
    pub watching: usize,
    pub mirroring: usize,
}

/// A command to a crowd, sent as one line of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Start counting.
    Begin,
    /// Return the report since the start.
    End,
    /// Return the digests of the mirrored boards.
    Digests,
    /// Return how the clients came back.
    Returned,
}

/// How long the clients took to join.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Joined {
    /// Microseconds of each client that joined.
    pub took: Vec<u64>,
    /// Clients that could not join.
    pub failed: usize,
}

/// How clients came back whose connection had ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Returned {
    /// When each client last came back and had all it had missed, in microseconds; 0 if it never did.
    pub at: Vec<u64>,
    /// Those who got a whole board again.
    pub boards: usize,
    /// Those whose first frame didn't continue from their board, and brought no whole board.
    pub broken: usize,
}

/// What a crowd received in a period.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub frames: u64,
    pub bytes: u64,
    /// For each watching client: the newest step of each frame, and its arrival time in microseconds.
    pub seen: Vec<Vec<(u64, u64)>>,
    /// Connections that ended.
    pub lost: usize,
}

/// A running crowd process. It is killed when dropped.
#[derive(Debug)]
pub struct Crowd {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    pub size: Size,
}

impl Crowd {
    /// Starts the process. All clients connect at once.
    pub fn start(binaries: &Path, target: &Target, size: Size) -> anyhow::Result<Self> {
        let mut command = Command::new(binaries.join("crowd"));
        command.arg(format!("--address={}", target.address)).arg(format!("--path={}", target.path));
        command.args(target.auth.iter().map(|auth| format!("--auth={auth}")));
        command.args(target.board.then_some("--board"));
        command.args(target.compression.then_some("--compression"));
        command.args(target.certificate.iter().map(|file| format!("--certificate={}", file.display())));
        command.args(target.returns.iter().map(|region| format!("--returns={region}")));
        command
            .arg(format!("--at-once={}", target.at_once))
            .arg(format!("--clients={}", size.clients))
            .arg(format!("--watching={}", size.watching));
        command.arg(format!("--mirroring={}", size.mirroring));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("cannot start the crowd")?;
        let orders = child.stdin.take().context("no stdin")?;
        let answers = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        Ok(Self { child, orders, answers, size })
    }

    /// Waits until every client has joined or failed to.
    pub async fn arrived(&mut self) -> anyhow::Result<Joined> {
        self.answer().await
    }

    /// Waits until every client has joined. Fails if any could not.
    pub async fn joined(&mut self) -> anyhow::Result<Joined> {
        let joined = self.arrived().await?;
        ensure!(joined.failed == 0, "{} of {} clients could not join", joined.failed, self.size.clients);
        Ok(joined)
    }

    pub async fn begin(&mut self) -> anyhow::Result<()> {
        self.order(Order::Begin).await
    }

    /// Returns the report since `begin`.
    pub async fn take(&mut self) -> anyhow::Result<Report> {
        self.order(Order::End).await?;
        self.answer().await
    }

    /// Waits until every mirroring client has exactly this board.
    pub async fn shows(&mut self, board: Digest) -> anyhow::Result<()> {
        let end = Instant::now() + EXACT_WITHIN;
        loop {
            self.order(Order::Digests).await?;
            let shown: Vec<Digest> = self.answer().await?;
            if shown.iter().all(|digest| *digest == board) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "some clients have a wrong board");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub async fn returned(&mut self) -> anyhow::Result<Returned> {
        self.order(Order::Returned).await?;
        self.answer().await
    }

    pub fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the crowd has ended")
    }

    /// Kills the process, which ends all its connections.
    pub async fn leave(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    async fn order(&mut self, order: Order) -> anyhow::Result<()> {
        let line = serde_json::to_string(&order)? + "\n";
        Ok(self.orders.write_all(line.as_bytes()).await?)
    }

    async fn answer<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let line = self.answers.next_line().await?.context("the crowd ended")?;
        Ok(serde_json::from_str(&line)?)
    }
}
