//! Follows all regions, step by step.

use alerts::{Boards, RegionView, Step};
use futures::future::join_all;
use kafka::{ConsumerMode, FollowerEvent, KafkaSettings, LagGauge, ReadError, RegionFollower, Steps};
use odds::{Change, Marker, Region, Revision, Timestamp};
use tracing::{Instrument, error_span, warn};

/// A step that is read this long after its time is not taken for the newest: later ones may be waiting to be read.
const NEWEST_FOR_MS: i64 = 3_000;

/// The boards of all regions, and what was given of each.
pub(crate) struct Regions {
    followers: [RegionFollower; Region::ALL.len()],
    /// The board's revision at the last step; none if the next step is the first of a board.
    revisions: [Option<Revision>; Region::ALL.len()],
}

impl Regions {
    pub(crate) fn new(kafka: &KafkaSettings) -> Self {
        let follower = |region| RegionFollower::new(kafka.clone(), region, ConsumerMode::Alone, Steps::Every);
        Self { followers: Region::ALL.map(follower), revisions: Default::default() }
    }

    /// Waits for the next verified step of any region. Nothing is lost if the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<Region, ReadError> {
        loop {
            let [us, uk, eu, au] = &mut self.followers;
            let (region, event) = tokio::select! {
                event = next(us) => event?,
                event = next(uk) => event?,
                event = next(eu) => event?,
                event = next(au) => event?,
            };
            match event {
                FollowerEvent::Verified(_) => return Ok(region),
                FollowerEvent::Loading | FollowerEvent::Lost(_) => self.revisions[region as usize] = None,
                FollowerEvent::Unavailable(error) => warn!(%region, %error, "the region can't be watched: retrying"),
                FollowerEvent::Loaded | FollowerEvent::Advanced => {}
            }
        }
    }

    /// The boards at their newest verified steps.
    pub(crate) fn boards(&self) -> Boards<'_> {
        let mut boards = Boards::default();
        for follower in &self.followers {
            let reader = follower.reader();
            let marker = reader.marker().filter(|_| reader.is_verified());
            let view = marker.map(|marker| RegionView { board: reader.board(), marker });
            boards.set(follower.region(), view);
        }
        boards
    }

    /// What the region's newest step changed, and whether that is the whole board.
    pub(crate) fn changes(&mut self, region: Region) -> (Vec<Change>, bool) {
        let board = self.followers[region as usize].board();
        let last = self.revisions[region as usize].replace(board.revision());
        match last.and_then(|last| board.changes_since(last)) {
            Some(changes) => (changes, false),
            None => (board.content(), true),
        }
    }

    pub(crate) fn step<'a>(
        &'a self,
        region: Region,
        (changes, is_whole): &'a (Vec<Change>, bool),
        now: Timestamp,
    ) -> Step<'a> {
        let is_newest = self.followers[region as usize].is_loaded() && self.is_recent(region, now);
        Step { region, changes, is_whole: *is_whole, is_newest, boards: self.boards() }
    }

    /// Whether every region that has a topic is read to its end.
    pub(crate) fn are_loaded(&self) -> bool {
        self.followers.iter().all(RegionFollower::is_loaded)
    }

    /// Whether the region's newest step was written just now.
    fn is_recent(&self, region: Region, now: Timestamp) -> bool {
        self.newest(region).is_some_and(|marker| now.millis_since(marker.at) <= NEWEST_FOR_MS)
    }

    /// Whether nothing is waiting to be read in the loaded regions. False if Kafka can't say.
    pub(crate) async fn are_read_to_the_end(&self, now: Timestamp) -> bool {
        let loaded = self.followers.iter().filter(|follower| follower.is_loaded());
        let gauges = loaded.filter(|it| !self.is_recent(it.region(), now)).filter_map(RegionFollower::lag_gauge);
        let is_read =
            |gauge: LagGauge| async move { gauge.read().await.is_ok_and(|lag| lag.iter().all(|it| *it == 0)) };
        join_all(gauges.map(is_read)).await.into_iter().all(|is_read| is_read)
    }

    /// The marker of the region's newest step.
    pub(crate) fn newest(&self, region: Region) -> Option<&Marker> {
        self.followers[region as usize].reader().marker()
    }

    /// Gauges of how many records of each region are not read yet.
    pub(crate) fn lag_gauges(&self) -> Vec<(Region, LagGauge)> {
        self.followers.iter().filter_map(|follower| Some((follower.region(), follower.lag_gauge()?))).collect()
    }
}

async fn next(follower: &mut RegionFollower) -> Result<(Region, FollowerEvent), ReadError> {
    let region = follower.region();
    // Each line of the log names the region.
    let event = follower.next().instrument(error_span!("alerter", %region)).await?;
    Ok((region, event))
}
