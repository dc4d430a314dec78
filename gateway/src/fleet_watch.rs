//! Reads the reports of all programs, and keeps what is wrong.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use fleet::{Problem, ProgramState, Programs, Report, Verdicts};
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
    pub(crate) fn now(&self) -> (Vec<Problem>, Vec<(Report, ProgramState)>) {
        let state = self.state();
        let programs = state.programs.all().map(|(report, it)| (report.clone(), it)).collect();
        (state.problems.clone(), programs)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics while holding it")
    }

    fn take(&self, report: Report, now: Timestamp) {
        let mut state = self.state();
        let came_at = state.verdicts.came_at(&report, now);
        state.programs.take(report, came_at);
    }

    fn look(&self, app: &AppState, now: Timestamp) {
        let feeds: Vec<Feed> = app.regions.iter().map(RegionHandle::feed).collect();
        let state = &mut *self.state();
        state.programs.forget(now);
        state.problems = state.verdicts.look(&state.programs, &feeds, now);
    }
}

impl AppState {
    /// Follows the reports of all programs.
    pub(crate) async fn follow_fleet(
        self: Arc<Self>,
        mut reports: TopicFollower<Report>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                report = reports.next() => self.fleet.take(report, (self.clock)()),
            }
        }
    }

    /// Finds out what is wrong, again and again.
    pub(crate) async fn judge_fleet(self: Arc<Self>, stop: CancellationToken) -> anyhow::Result<()> {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = look.tick() => self.fleet.look(&self, (self.clock)()),
            }
        }
    }
}
