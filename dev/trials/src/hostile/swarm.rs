//! Ten thousand peers in a separate process, so that their CPU time and memory are not counted for the gateway.

use std::{net::Ipv4Addr, path::Path, process::Stdio};

use anyhow::Context;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{kind::Kind, peer::End};
use crate::race::cpu_seconds;

/// The peers' source addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Origin {
    /// All connect from one address.
    One,
    /// Each connects from a different address.
    Spread,
}

impl Origin {
    /// Returns a peer's address in 127.0.0.0/8, but never 127.0.0.1. `One` has a different address for each kind: the
    /// previous kind's ports are not free yet, and the kernel would search long for a free one.
    pub fn address(self, kind: Kind, number: usize) -> Ipv4Addr {
        match self {
            Self::One => Ipv4Addr::new(127, 1, kind as u8, 1),
            Self::Spread => {
                let [_, _, high, low] = u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
                Ipv4Addr::new(127, 16, high, low)
            }
        }
    }
}

/// How many peers ended in which way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub never_came: usize,
    pub refused: usize,
    pub cut: usize,
    pub stay: usize,
    /// The longest lifetime of a peer that was refused or cut, in microseconds.
    pub longest: u64,
}

impl Tally {
    pub fn count(&mut self, end: End) {
        match end {
            End::NeverCame => self.never_came += 1,
            End::Refused(lived) => {
                self.refused += 1;
                self.longest = self.longest.max(lived);
            }
            End::Cut(lived) => {
                self.cut += 1;
                self.longest = self.longest.max(lived);
            }
            End::Stays => self.stay += 1,
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.never_came += other.never_came;
        self.refused += other.refused;
        self.cut += other.cut;
        self.stay += other.stay;
        self.longest = self.longest.max(other.longest);
    }
}

/// A running process of peers. It stays until its input ends, so that its CPU time can be read at the end.
pub(super) struct Swarm {
    child: Child,
    _input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Swarm {
    pub(super) fn start(
        binaries: &Path,
        kind: Kind,
        origin: Origin,
        address: &str,
        auth: &str,
    ) -> anyhow::Result<Self> {
        let name = |value: Option<clap::builder::PossibleValue>| value.map(|it| it.get_name().to_owned());
        let mut command = Command::new(binaries.join("strangers"));
        command.arg(name(kind.to_possible_value()).context("a kind without a name")?);
        command.arg(name(origin.to_possible_value()).context("an origin without a name")?);
        command.arg(format!("--address={address}")).arg(format!("--auth={auth}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("cannot start the peers")?;
        let input = child.stdin.take().context("no stdin")?;
        let output = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Self { child, _input: input, output })
    }

    /// Waits until all peers have ended, and returns the tally and their CPU seconds.
    pub(super) async fn tally(mut self) -> anyhow::Result<(Tally, f64)> {
        let mut line = String::new();
        self.output.read_line(&mut line).await?;
        let tally = serde_json::from_str(&line).context("the peers' process ended early")?;
        let cpu = cpu_seconds(self.child.id().context("the peers' process has ended")?)?;
        self.child.kill().await?;
        Ok((tally, cpu))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn all_come_from_this_machine_and_not_from_where_good_clients_are() {
        let spread: HashSet<Ipv4Addr> = (0..10_000).map(|n| Origin::Spread.address(Kind::Silent, n)).collect();
        assert_eq!(spread.len(), 10_000);
        let all = spread.into_iter().chain([Origin::One.address(Kind::Silent, 7)]);
        assert!(all.into_iter().all(|address| address.is_loopback() && address != Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn the_longest_life_counts_however_it_ended() {
        let mut tally = Tally::default();
        for end in [End::Refused(5), End::Cut(3), End::Stays, End::NeverCame] {
            tally.count(end);
        }
        assert_eq!(tally, Tally { never_came: 1, refused: 1, cut: 1, stay: 1, longest: 5 });
    }
}
