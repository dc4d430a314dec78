//! Reads the reports of all programs, and keeps what is wrong.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use fleet::{Problem, ProgramState, Programs, Report, Seen, Verdicts};
use kafka::TopicFollower;
use odds::{Feed, Timestamp};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{region::RegionHandle, session::AppState};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The newest reports, and what is wrong.
#[derive(Debug)]
pub(crate) struct FleetWatch(Mutex<State>);

#[derive(Debug)]
struct State {
    programs: Programs,
    verdicts: Verdicts,
    problems: Vec<Problem>,
}

impl FleetWatch {
    pub(crate) fn new(now: Timestamp) -> Self {
        let (programs, verdicts) = (Programs::default(), Verdicts::new(now));
        Self(Mutex::new(State { programs, verdicts, problems: Vec::new() }))
    }

    /// What is wrong, the most important first, and all programs.
    pub(crate) fn now(&self, now: Timestamp) -> (Vec<Problem>, Vec<(Report, ProgramState)>) {
        let state = self.state();
        let programs = state.programs.all(now).map(|(report, it)| (report.clone(), it)).collect();
        (state.problems.clone(), programs)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics while holding it")
    }

    fn take(&self, report: Report, now: Timestamp) {
        let mut state = self.state();
        // What the topic still has of former times is no sign of life.
        if now.millis_since(report.at) < LOOK_EVERY.as_millis() as i64 * 5 {
            state.verdicts.heard(now);
        }
        state.programs.take(report);
    }

    fn look(&self, app: &AppState, now: Timestamp) {
        let feeds: Vec<Feed> = app.regions.iter().map(RegionHandle::feed).collect();
        let state = &mut *self.state();
        state.programs.forget(now);
        let (has_history, has_messages) = (app.history.is_some(), app.messages.is_some());
        let seen = Seen { programs: &state.programs, feeds: &feeds, has_history, has_messages };
        state.problems = state.verdicts.look(seen, now);
    }
}

impl AppState {
    /// Follows the reports of all programs.
    pub(crate) async fn follow_fleet(
        self: Arc<Self>,
        mut reports: TopicFollower<Report>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                report = reports.next() => self.fleet.take(report, (self.clock)()),
                _ = look.tick() => self.fleet.look(&self, (self.clock)()),
            }
        }
    }
}
