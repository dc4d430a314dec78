//! A client's data: a mirror and the feed of each region, updated by the protocol's events. It uses no socket.

use std::collections::{BTreeMap, BTreeSet};

use odds::{Cursor, EventId, Feed, OddsPayload, Region, SnapshotPayload, Subscriptions};

use crate::{Mirror, OutOfStep};

/// A `feed` event comes at least every ten seconds. A request counts as lost if this many come before its answer.
const FEEDS_BEFORE_ASKING_AGAIN: u32 = 2;

/// The result of an event of the protocol.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MirrorUpdate {
    /// This region's board changed.
    Board(Region),
    /// This region's feed was updated.
    Feed(Region),
    /// The subscribed regions changed.
    Regions,
    /// Send `resync` for this region, from the cursor if there is one.
    Resync(Region, Option<Cursor>),
    Nothing,
}

/// Mirrors and feeds of all subscribed regions.
#[derive(Debug, Default)]
pub struct BoardMirrors {
    pub regions: Vec<Region>,
    pub boards: BTreeMap<Region, Mirror>,
    pub feeds: BTreeMap<Region, Feed>,
    /// The account's revision that the regions come from.
    revision: Option<u64>,
    /// Regions whose `resync` is not answered yet, with the number of `feed` events since.
    asked: BTreeMap<Region, u32>,
    touched: ChangedEvents,
}

/// Which events changed, were added or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangedEvents {
    Some(BTreeSet<EventId>),
    All,
}

impl Default for ChangedEvents {
    fn default() -> Self {
        Self::Some(BTreeSet::new())
    }
}

impl BoardMirrors {
    /// Applies an event, given its name and the JSON of its payload. Events that can't be parsed are ignored.
    pub fn take(&mut self, event: &str, payload: &str) -> MirrorUpdate {
        let update = match event {
            "subscriptions" => serde_json::from_str(payload).map(|subscriptions| self.subscribed(subscriptions)),
            "snapshot" => serde_json::from_str(payload).map(|snapshot| self.snapshot(snapshot)),
            "odds" => serde_json::from_str(payload).map(|odds| self.odds(odds)),
            "feed" => serde_json::from_str(payload).map(|feed| self.feed(feed)),
            _ => Ok(MirrorUpdate::Nothing),
        };
        update.unwrap_or(MirrorUpdate::Nothing)
    }

    fn subscribed(&mut self, subscriptions: Subscriptions) -> MirrorUpdate {
        // An answer by HTTP and an event may overtake each other.
        if subscriptions.revision.is_some_and(|new| self.revision.is_some_and(|known| new < known)) {
            return MirrorUpdate::Nothing;
        }
        self.revision = subscriptions.revision;
        keep(&mut self.boards, &subscriptions.regions);
        keep(&mut self.feeds, &subscriptions.regions);
        keep(&mut self.asked, &subscriptions.regions);
        self.regions = subscriptions.regions;
        self.touched = ChangedEvents::All;
        MirrorUpdate::Regions
    }

    /// False for regions that are no longer subscribed: their events were already on the way.
    fn follows(&self, region: Region) -> bool {
        self.regions.contains(&region)
    }

    fn feed(&mut self, feed: Feed) -> MirrorUpdate {
        let region = feed.region;
        if !self.follows(region) {
            return MirrorUpdate::Nothing;
        }
        let cursor = feed.cursor;
        self.feeds.insert(region, feed);
        // An answer, or the request, can be lost with a long-polling response.
        if let Some(feeds) = self.asked.get_mut(&region) {
            *feeds += 1;
            if *feeds == FEEDS_BEFORE_ASKING_AGAIN {
                return self.resync(region);
            }
        } else if cursor.is_some() && cursor != self.boards.get(&region).and_then(Mirror::cursor) {
            // So can the newest frame. As long as no price changes, only the feed's cursor shows that.
            self.boards.entry(region).or_default().drop_incoming();
            return self.out_of_step(region);
        }
        MirrorUpdate::Feed(region)
    }

    fn snapshot(&mut self, snapshot: SnapshotPayload) -> MirrorUpdate {
        let region = snapshot.region;
        if !self.follows(region) {
            return MirrorUpdate::Nothing;
        }
        if snapshot.part.is_none_or(|part| part == 1) {
            self.asked.remove(&region);
        }
        match self.boards.entry(region).or_default().snapshot(snapshot) {
            Ok(false) => MirrorUpdate::Nothing,
            Ok(true) => {
                self.touched = ChangedEvents::All;
                MirrorUpdate::Board(region)
            }
            Err(OutOfStep) => self.out_of_step(region),
        }
    }

    /// Requests a resync, unless one is pending: then the event was sent before the answer.
    fn out_of_step(&mut self, region: Region) -> MirrorUpdate {
        match self.asked.contains_key(&region) {
            true => MirrorUpdate::Nothing,
            false => self.resync(region),
        }
    }

    fn resync(&mut self, region: Region) -> MirrorUpdate {
        self.asked.insert(region, 0);
        MirrorUpdate::Resync(region, self.boards.get(&region).and_then(Mirror::cursor))
    }

    fn odds(&mut self, odds: OddsPayload) -> MirrorUpdate {
        let region = odds.region;
        if !self.follows(region) {
            return MirrorUpdate::Nothing;
        }
        match self.boards.entry(region).or_default().odds(odds) {
            Err(OutOfStep) => self.out_of_step(region),
            Ok(events) => {
                self.asked.remove(&region);
                if let ChangedEvents::Some(touched) = &mut self.touched {
                    touched.extend(events);
                }
                MirrorUpdate::Board(region)
            }
        }
    }

    /// Returns what changed since the last call.
    pub fn take_changed(&mut self) -> ChangedEvents {
        std::mem::take(&mut self.touched)
    }

    /// Forgets what only the last connection would have sent: answers, and the rest of snapshots. A new connection
    /// sends its subscriptions again, whatever their revision.
    pub fn disconnected(&mut self) {
        self.asked.clear();
        self.boards.values_mut().for_each(Mirror::drop_incoming);
        self.revision = None;
    }

    /// The cursor of each mirror, to resume from.
    pub fn cursors(&self) -> BTreeMap<Region, Cursor> {
        let mut cursors = BTreeMap::new();
        for (region, board) in &self.boards {
            if let Some(cursor) = board.cursor() {
                cursors.insert(*region, cursor);
            }
        }
        cursors
    }
}

fn keep<V>(of_regions: &mut BTreeMap<Region, V>, regions: &[Region]) {
    for (region, value) in std::mem::take(of_regions) {
        if regions.contains(&region) {
            of_regions.insert(region, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURSORS: [&str; 3] = [
        "1.2-3-99aa06d3014798d86001c324468d497f",
        "1.2-4-99aa06d3014798d86001c324468d497e",
        "1.2-5-99aa06d3014798d86001c324468d497d",
    ];

    /// Mirrors that follow the US, and have its first board.
    fn begun() -> BoardMirrors {
        let mut mirrors = BoardMirrors::default();
        mirrors.take("subscriptions", r#"{"v":1,"regions":["us"]}"#);
        assert_eq!(mirrors.take("snapshot", &snapshot()), MirrorUpdate::Board(Region::Us));
        mirrors
    }

    fn snapshot() -> String {
        format!(r#"{{"region":"us","cursor":"{}","events":[]}}"#, CURSORS[0])
    }

    fn odds(prev: &str, cursor: &str) -> String {
        format!(r#"{{"region":"us","prev":"{prev}","cursor":"{cursor}","events":[]}}"#)
    }

    #[test]
    fn a_gap_asks_for_what_is_missing() {
        let mut mirrors = begun();
        assert_eq!(mirrors.take("odds", &odds(CURSORS[0], CURSORS[1])), MirrorUpdate::Board(Region::Us));
        let at = CURSORS[1].parse().unwrap();
        assert_eq!(mirrors.take("odds", &odds(CURSORS[0], CURSORS[2])), MirrorUpdate::Resync(Region::Us, Some(at)));
        assert_eq!(mirrors.take("odds", &odds(CURSORS[0], CURSORS[2])), MirrorUpdate::Nothing, "it is requested once");
        assert_eq!(mirrors.cursors().get(&Region::Us), Some(&at));
    }

    fn part(number: u32) -> String {
        format!(r#"{{"region":"us","cursor":"{}","events":[],"part":{number},"parts":4}}"#, CURSORS[1])
    }

    #[test]
    fn a_missing_part_asks_for_what_is_missing() {
        let mut mirrors = begun();
        let resync = MirrorUpdate::Resync(Region::Us, Some(CURSORS[0].parse().unwrap()));
        assert_eq!(mirrors.take("snapshot", &part(1)), MirrorUpdate::Nothing);
        assert_eq!(mirrors.take("snapshot", &part(3)), resync);
        assert_eq!(mirrors.take("snapshot", &part(4)), MirrorUpdate::Nothing, "it is requested once");
        // A gap in the answer asks again.
        assert_eq!(mirrors.take("snapshot", &part(1)), MirrorUpdate::Nothing);
        assert_eq!(mirrors.take("snapshot", &part(4)), resync);
        for number in 1..4 {
            assert_eq!(mirrors.take("snapshot", &part(number)), MirrorUpdate::Nothing);
        }
        assert_eq!(mirrors.take("snapshot", &part(4)), MirrorUpdate::Board(Region::Us));
    }

    #[test]
    fn a_lost_answer_is_requested_again() {
        let mut mirrors = begun();
        let feed =
            r#"{"region":"us","at":"2026-01-01T00:00:00Z","state":"live","source":"x","sports":{},"bookmakers":{}}"#;
        let resync = MirrorUpdate::Resync(Region::Us, Some(CURSORS[0].parse().unwrap()));
        assert_eq!(mirrors.take("odds", &odds(CURSORS[1], CURSORS[2])), resync);
        let mut update = (0..2 * FEEDS_BEFORE_ASKING_AGAIN).map(|_| mirrors.take("feed", feed));
        let asks = update.by_ref().filter(|update| *update == resync).count();
        assert_eq!(asks, 2);
        assert_eq!(mirrors.take("odds", &odds(CURSORS[0], CURSORS[1])), MirrorUpdate::Board(Region::Us));
        assert!((0..9).all(|_| mirrors.take("feed", feed) == MirrorUpdate::Feed(Region::Us)));
    }

    #[test]
    fn a_lost_newest_frame_is_requested_when_a_feed_names_its_cursor() {
        let mut mirrors = begun();
        let feed = |cursor: &str| {
            let at = "2026-01-01T00:00:00Z";
            format!(
                r#"{{"region":"us","at":"{at}","state":"live","source":"x","sports":{{}},"bookmakers":{{}},"cursor":"{cursor}"}}"#
            )
        };
        assert_eq!(mirrors.take("feed", &feed(CURSORS[0])), MirrorUpdate::Feed(Region::Us));
        assert_eq!(mirrors.take("snapshot", &part(1)), MirrorUpdate::Nothing);
        let resync = MirrorUpdate::Resync(Region::Us, Some(CURSORS[0].parse().unwrap()));
        assert_eq!(mirrors.take("feed", &feed(CURSORS[1])), resync);
        assert_eq!(mirrors.take("feed", &feed(CURSORS[1])), MirrorUpdate::Feed(Region::Us), "it is requested once");
        assert_eq!(mirrors.take("odds", &odds(CURSORS[0], CURSORS[1])), MirrorUpdate::Board(Region::Us));
        assert_eq!(mirrors.take("feed", &feed(CURSORS[1])), MirrorUpdate::Feed(Region::Us));
    }

    #[test]
    fn a_change_is_returned_once() {
        let mut mirrors = begun();
        assert_eq!(mirrors.take_changed(), ChangedEvents::All);
        let gone = r#"{"id":"a","removed":true}"#;
        let odds = format!(r#"{{"region":"us","prev":"{}","cursor":"{}","events":[{gone}]}}"#, CURSORS[0], CURSORS[1]);
        mirrors.take("odds", &odds);
        assert_eq!(mirrors.take_changed(), ChangedEvents::Some(["a".parse().unwrap()].into()));
        assert_eq!(mirrors.take_changed(), ChangedEvents::default());
    }

    #[test]
    fn unsubscribed_regions_are_dropped() {
        let mut mirrors = begun();
        mirrors.take("subscriptions", r#"{"v":1,"regions":["uk"]}"#);
        assert_eq!(mirrors.regions, [Region::Uk]);
        // Events of the old region may still be on the way.
        assert_eq!(mirrors.take("odds", &odds(CURSORS[0], CURSORS[1])), MirrorUpdate::Nothing);
        assert_eq!(mirrors.take("snapshot", &snapshot()), MirrorUpdate::Nothing);
        assert!(mirrors.boards.is_empty());
    }

    #[test]
    fn older_subscriptions_are_ignored() {
        let mut mirrors = BoardMirrors::default();
        let of = |revision, region| format!(r#"{{"v":1,"revision":{revision},"regions":["{region}"]}}"#);
        assert_eq!(mirrors.take("subscriptions", &of(4, "uk")), MirrorUpdate::Regions);
        assert_eq!(mirrors.take("subscriptions", &of(3, "us")), MirrorUpdate::Nothing);
        assert_eq!(mirrors.regions, [Region::Uk]);
        // The next connection may find accounts that were restored from a backup.
        mirrors.disconnected();
        assert_eq!(mirrors.take("subscriptions", &of(3, "us")), MirrorUpdate::Regions);
    }
}
