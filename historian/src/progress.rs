//! Shows how far a command is, on standard error.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use odds::{Region, Timestamp};

/// How often a line on a terminal is replaced.
const ON_TERMINAL: Duration = Duration::from_millis(500);
/// How often a line is written elsewhere.
const ELSEWHERE: Duration = Duration::from_secs(10);

/// What is shown, and when it was shown last.
pub struct Progress {
    out: Box<dyn Write + Send>,
    every: Duration,
    region: Option<Region>,
    range: Option<(Timestamp, Timestamp)>,
    steps: u64,
    begun: Instant,
    shown: Option<Instant>,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("region", &self.region).field("steps", &self.steps).finish_non_exhaustive()
    }
}

impl Progress {
    /// On standard error: one line that is replaced if that is a terminal, else a line every few seconds.
    pub fn on_terminal() -> Self {
        let every = if io::stderr().is_terminal() { ON_TERMINAL } else { ELSEWHERE };
        Self::new(Box::new(io::stderr()), every)
    }

    /// Shows nothing.
    pub fn hidden() -> Self {
        Self::new(Box::new(io::sink()), ELSEWHERE)
    }

    fn new(out: Box<dyn Write + Send>, every: Duration) -> Self {
        Self { out, every, region: None, range: None, steps: 0, begun: Instant::now(), shown: None }
    }

    /// Begins with a region, and with the times between which its steps are, if they are known.
    pub(crate) fn begin(&mut self, region: Region, range: Option<(Timestamp, Timestamp)>) {
        (self.region, self.range, self.steps, self.begun) = (Some(region), range, 0, Instant::now());
    }

    /// Counts steps, of which the last one has this time.
    pub(crate) fn advance(&mut self, steps: u64, at: Timestamp) {
        self.steps += steps;
        if self.shown.unwrap_or(self.begun).elapsed() < self.every {
            return;
        }
        let line = self.line(at, self.begun.elapsed());
        let ends = if self.every == ON_TERMINAL { ("\r\x1b[K", "") } else { ("", "\n") };
        // Nobody is helped if a command fails because its progress can't be shown.
        let _ = write!(self.out, "{}{line}{}", ends.0, ends.1).and_then(|()| self.out.flush());
        self.shown = Some(Instant::now());
    }

    fn line(&self, at: Timestamp, time: Duration) -> String {
        let region = self.region.map_or("", Region::key);
        let rate = self.steps as f64 / time.as_secs_f64().max(0.001);
        let share = self.range.map(|(from, to)| {
            let span = to.millis_since(from).max(1) as f64;
            format!(", {:.0} %", (100.0 * at.millis_since(from) as f64 / span).clamp(0.0, 100.0))
        });
        format!("{region}: {} steps, at {at}{}, {rate:.0} steps/s", self.steps, share.unwrap_or_default())
    }

    /// Clears the line, so that others can be written.
    pub(crate) fn clear(&mut self) {
        if self.every == ON_TERMINAL && self.shown.take().is_some() {
            let _ = write!(self.out, "\r\x1b[K").and_then(|()| self.out.flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_share_of_the_range_and_the_rate() {
        let (mut progress, at) = (Progress::hidden(), Timestamp::from_millis);
        progress.begin(Region::Uk, Some((at(0), at(200_000))));
        progress.advance(50, at(50_000));
        let line = progress.line(at(50_000), Duration::from_secs(5));
        assert_eq!(line, "uk: 50 steps, at 1970-01-01T00:00:50Z, 25 %, 10 steps/s");
    }
}
