//! Rebuilds every recorded board and compares it with its digest. Behind a damaged step, it goes on at the next
//! keyframe.

use std::{io::Write, sync::Arc};

use anyhow::Context;
use clap::Args;
use history::{HistoryError, Moment, Playback, Played, Store};
use odds::{LogPosition, Region, StepId, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::{Progress, recorded_range::recorded_range};

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Verify")]
pub struct VerifySettings {
    /// Regions to verify, separated by commas or repeated. Without any: all.
    #[arg(long = "region", id = "region", value_name = "us|uk|eu|au", value_delimiter = ',')]
    pub regions: Vec<Region>,

    /// Begin with the board as it was at this time, such as 2026-11-21T12:00:00Z. Without it: with the first one.
    #[arg(long, value_name = "TIME")]
    pub from: Option<Timestamp>,

    /// The time of the last step. Without it: the newest recorded step.
    #[arg(long, value_name = "TIME")]
    pub to: Option<Timestamp>,
}

/// What was found in all regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Steps whose boards have their digests.
    pub steps: u64,
    pub gaps: u64,
    /// Places from which on no board can be rebuilt until a later step.
    pub damages: u64,
}

impl Verified {
    pub fn is_damaged(&self) -> bool {
        self.damages > 0
    }
}

impl VerifySettings {
    /// Verifies region after region, and writes what it finds. Returns `None` if `stop` is cancelled before the end.
    pub async fn verify(
        &self,
        store: &Arc<dyn Store>,
        stop: &CancellationToken,
        mut progress: Progress,
        out: &mut (dyn Write + Send),
    ) -> anyhow::Result<Option<Verified>> {
        let mut all = Verified::default();
        let is_wanted = |region: &Region| self.regions.is_empty() || self.regions.contains(region);
        for region in Region::ALL.into_iter().filter(is_wanted) {
            progress.begin(region, recorded_range(&**store, region, self.from, self.to).await?);
            let found = Verified::default();
            let (settings, progress) = (self, &mut progress);
            let mut verification =
                Verification { settings, store, region, progress, out, found, last: None, keyframe: None };
            let is_complete = verification.run(stop).await.context("the history can't be read")?;
            let Verification { found, last, .. } = verification;
            progress.clear();
            if !is_complete {
                let at = last.map(|(at, _)| format!(" at {at}")).unwrap_or_default();
                writeln!(out, "{region}: interrupted{at}")?;
                return Ok(None);
            }
            writeln!(out, "{region}: {}", summary(&found))?;
            all.steps += found.steps;
            all.gaps += found.gaps;
            all.damages += found.damages;
        }
        Ok(Some(all))
    }
}

fn summary(Verified { steps, gaps, damages }: &Verified) -> String {
    let damage = match damages {
        0 => "nothing is damaged".to_owned(),
        damages => format!("damaged in {damages} places"),
    };
    format!("{steps} steps match their digests, {gaps} gaps, {damage}")
}

/// The verification of a region.
struct Verification<'a> {
    settings: &'a VerifySettings,
    store: &'a Arc<dyn Store>,
    region: Region,
    progress: &'a mut Progress,
    out: &'a mut (dyn Write + Send),
    found: Verified,
    /// The last step that matched.
    last: Option<(Timestamp, LogPosition)>,
    /// The next keyframe. A playback doesn't read those on its way.
    keyframe: Option<(Timestamp, StepId)>,
}

impl Verification<'_> {
    /// Returns whether it came to the end.
    async fn run(&mut self, stop: &CancellationToken) -> anyhow::Result<bool> {
        let first = Moment::At(self.settings.from.unwrap_or(Timestamp::from_millis(i64::MIN)));
        let mut playback = match self.start(first).await {
            Ok((playback, played)) => {
                self.played(&playback, played).await?;
                playback
            }
            Err(HistoryError::NotRecorded { from, until }) => {
                if let Some(until) = until {
                    self.gap(from, until)?;
                }
                return Ok(true);
            }
            Err(error) => match self.go_on_behind(error, self.settings.from).await? {
                Some(playback) => playback,
                None => return Ok(true),
            },
        };
        while !stop.is_cancelled() {
            match playback.next().await {
                Ok(Played::End(next)) => {
                    if let Some(until) = next {
                        self.gap(Some(playback.marker().at), until)?;
                    }
                    return Ok(true);
                }
                Ok(played) => self.played(&playback, played).await?,
                Err(error) => match self.go_on_behind(error, Some(playback.marker().at)).await? {
                    Some(next) => playback = next,
                    None => return Ok(true),
                },
            }
        }
        Ok(false)
    }

    async fn start(&self, from: Moment) -> Result<(Playback, Played), HistoryError> {
        Playback::start(self.store.clone(), self.region, from, self.settings.to).await
    }

    /// A step that matches its digest.
    async fn played(&mut self, playback: &Playback, played: Played) -> anyhow::Result<()> {
        let at = playback.marker().at;
        if let Played::AfterGap(from) = played {
            self.gap(from, at)?;
        }
        self.found.steps += 1;
        self.last = Some((at, playback.position()));
        self.progress.advance(1, at);
        while let Some((keyframe_at, step)) = self.keyframe.filter(|(keyframe_at, _)| *keyframe_at <= at) {
            self.check_keyframe(playback, step).await?;
            self.keyframe = self.store.next_keyframe(self.region, keyframe_at).await?;
        }
        if self.keyframe.is_none() {
            self.keyframe = self.store.next_keyframe(self.region, at).await?;
        }
        Ok(())
    }

    /// Boards after a keyframe are rebuilt from it.
    async fn check_keyframe(&mut self, playback: &Playback, step: StepId) -> anyhow::Result<()> {
        let is_same = match self.store.board_at(self.region, Moment::Step(step)).await {
            Ok(board) => playback.step() != step || board.marker == *playback.marker(),
            Err(HistoryError::Damaged(_) | HistoryError::DamagedRow) => false,
            Err(error) => return Err(error.into()),
        };
        if !is_same {
            self.found.damages += 1;
            let at = playback.marker().at;
            self.say(&format!("the whole board of step {step} at {at} is damaged: no board until the next one"))?;
        }
        Ok(())
    }

    fn gap(&mut self, from: Option<Timestamp>, until: Timestamp) -> anyhow::Result<()> {
        // Before the first recorded step is no gap.
        let Some(from) = from else { return Ok(()) };
        self.found.gaps += 1;
        self.say(&format!("gap from {from} until {until}"))
    }

    /// Says what is damaged, and goes on at the next keyframe. `None` if there is none in the wanted time.
    async fn go_on_behind(
        &mut self,
        error: HistoryError,
        after: Option<Timestamp>,
    ) -> anyhow::Result<Option<Playback>> {
        let step = match error {
            HistoryError::Damaged(step) => step.to_string(),
            HistoryError::DamagedRow => "of an unknown name".to_owned(),
            error => return Err(error.into()),
        };
        self.found.damages += 1;
        let since = after.map(|after| format!(" after {after}")).unwrap_or_default();
        let mut keyframe_after = after.unwrap_or(Timestamp::from_millis(i64::MIN));
        while let Some((at, keyframe)) = self.store.next_keyframe(self.region, keyframe_after).await? {
            if self.settings.to.is_some_and(|to| at > to) {
                break;
            }
            keyframe_after = at;
            let playback = match self.start(Moment::Step(keyframe)).await {
                Ok((playback, _)) => playback,
                Err(HistoryError::Damaged(_) | HistoryError::DamagedRow | HistoryError::NotRecorded { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let lost = self.steps_before(playback.position());
            self.say(&format!("step {step}{since} is damaged: no board until {at}{lost}"))?;
            self.keyframe = None;
            self.played(&playback, Played::Step).await?;
            return Ok(Some(playback));
        }
        self.say(&format!("step {step}{since} is damaged: no board after it"))?;
        Ok(None)
    }

    /// How many steps are between the last one that matched and this one, if both are in the same log.
    fn steps_before(&self, position: LogPosition) -> String {
        let last = self.last.filter(|(_, last)| last.log == position.log);
        let lost = last.and_then(|(_, last)| position.seq.checked_sub(last.seq + 1));
        lost.map(|lost| format!(", {lost} steps")).unwrap_or_default()
    }

    fn say(&mut self, what: &str) -> anyhow::Result<()> {
        self.progress.clear();
        Ok(writeln!(self.out, "{}: {what}", self.region)?)
    }
}
