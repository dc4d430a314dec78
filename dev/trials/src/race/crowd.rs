//! Many clients in a process of their own, so that what they cost is not booked on anybody else.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use odds::Digest;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

const EXACT_WITHIN: Duration = Duration::from_secs(20);

/// Where the clients go, and what they say there.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: String,
    pub path: String,
    /// What Socket.IO is told; nothing where there is just a websocket.
    pub auth: Option<String>,
    /// There is a board to wait for.
    pub board: bool,
}

/// How many there are; how many of them tell when they saw which step; and how many of those mirror
/// the board.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub clients: usize,
    pub watching: usize,
    pub mirroring: usize,
}

/// What a crowd is told, a line each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Count from here.
    Begin,
    /// Tell what came since.
    End,
    /// Tell the digests of the mirrored boards.
    Digests,
}

/// How long each client took to be where it wants to be, in microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Joined {
    pub took: Vec<u64>,
    /// Those that were not let in.
    pub failed: usize,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub frames: u64,
    pub bytes: u64,
    /// Of each client that watches: the newest step of each frame, and when it came.
    pub seen: Vec<Vec<(u64, u64)>>,
    /// Connections that ended.
    pub lost: usize,
}

/// The process.
#[derive(Debug)]
pub struct Crowd {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    pub size: Size,
}

impl Crowd {
    /// All of them set out at once.
    pub fn start(binaries: &Path, target: &Target, size: Size) -> anyhow::Result<Self> {
        let mut command = Command::new(binaries.join("crowd"));
        command.arg(format!("--address={}", target.address)).arg(format!("--path={}", target.path));
        command.args(target.auth.iter().map(|auth| format!("--auth={auth}")));
        command.args(target.board.then_some("--board"));
        command.arg(format!("--clients={}", size.clients)).arg(format!("--watching={}", size.watching));
        command.arg(format!("--mirroring={}", size.mirroring));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("the crowd can't be started")?;
        let orders = child.stdin.take().context("no stdin")?;
        let answers = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        Ok(Self { child, orders, answers, size })
    }

    /// Until everybody is there, or was not let in.
    pub async fn arrived(&mut self) -> anyhow::Result<Joined> {
        self.answer().await
    }

    /// Until everybody is there.
    pub async fn joined(&mut self) -> anyhow::Result<Joined> {
        let joined = self.arrived().await?;
        ensure!(joined.failed == 0, "{} of {} clients were not let in", joined.failed, self.size.clients);
        Ok(joined)
    }

    pub async fn begin(&mut self) -> anyhow::Result<()> {
        self.order(Order::Begin).await
    }

    /// What came since it began.
    pub async fn take(&mut self) -> anyhow::Result<Report> {
        self.order(Order::End).await?;
        self.answer().await
    }

    /// Until everybody who mirrors the board shows exactly this one.
    pub async fn shows(&mut self, board: Digest) -> anyhow::Result<()> {
        let end = Instant::now() + EXACT_WITHIN;
        loop {
            self.order(Order::Digests).await?;
            let shown: Vec<Digest> = self.answer().await?;
            if shown.iter().all(|digest| *digest == board) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "some clients show another board than there is");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the crowd is gone")
    }

    /// Ends all its connections.
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
