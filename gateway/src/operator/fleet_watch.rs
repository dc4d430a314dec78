//! Reads the reports of all programs, and keeps what is wrong.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use fleet::{Cluster, CreditHistory, Problem, Program, ProgramState, Programs, Report, Verdicts};
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
    /// None while nobody answers.
    cluster: Option<Cluster>,
    credits: CreditHistory,
}

/// What there is to see at one moment.
pub(crate) struct FleetNow {
    /// The most important first.
    pub(crate) problems: Vec<Problem>,
    pub(crate) programs: Vec<ProgramNow>,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) credits: CreditHistory,
}

pub(crate) struct ProgramNow {
    pub(crate) state: ProgramState,
    pub(crate) program: Program,
}

impl FleetWatch {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self(Mutex::new(State {
            programs: Programs::default(),
            verdicts: Verdicts::new(now),
            problems: Vec::new(),
            cluster: None,
            credits: CreditHistory::default(),
        }))
    }

    pub(crate) fn now(&self) -> FleetNow {
        let state = self.state();
        let programs = state.programs.all().map(|(program, state)| ProgramNow { state, program: program.clone() });
        FleetNow {
            problems: state.problems.clone(),
            programs: programs.collect(),
            cluster: state.cluster.clone(),
            credits: state.credits.clone(),
        }
    }

    pub(super) fn set_cluster(&self, cluster: Option<Cluster>) {
        self.state().cluster = cluster;
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
        state.credits.take(&state.programs, now);
        state.problems = state.verdicts.look(&state.programs, &feeds, state.cluster.as_ref(), now);
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
