//! What the page knows: a mirror of each region's board and how fresh it is, fed by the events of
//! the protocol. Knows nothing of sockets or of the screen.

use std::collections::BTreeMap;

use odds::{Applied, Cursor, Feed, Mirror, OddsPayload, Region, SnapshotPayload, Subscriptions};
use serde::Deserialize;

/// What an event of the protocol came to.
#[derive(Debug, PartialEq)]
pub(crate) enum News {
    /// These regions look different now.
    Changed,
    /// Ask for this region from the cursor on.
    Resync(Region, Option<Cursor>),
    Nothing,
}

#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) regions: Vec<Region>,
    pub(crate) boards: BTreeMap<Region, Mirror>,
    pub(crate) feeds: BTreeMap<Region, Feed>,
}

impl Live {
    /// Takes an event by its name and the JSON of its payload. What can't be read is left aside.
    pub(crate) fn take(&mut self, event: &str, payload: &str) -> News {
        match event {
            "subscriptions" => match serde_json::from_str::<Subscriptions>(payload) {
                Ok(subscriptions) => {
                    self.boards.retain(|region, _| subscriptions.regions.contains(region));
                    self.feeds.retain(|region, _| subscriptions.regions.contains(region));
                    self.regions = subscriptions.regions;
                    News::Changed
                }
                Err(_) => News::Nothing,
            },
            "snapshot" => match serde_json::from_str::<SnapshotPayload>(payload) {
                Ok(snapshot) => {
                    self.boards.entry(snapshot.region).or_default().snapshot(snapshot);
                    News::Changed
                }
                Err(_) => News::Nothing,
            },
            "odds" => match serde_json::from_str::<OddsPayload>(payload) {
                Ok(odds) => {
                    let region = odds.region;
                    let board = self.boards.entry(region).or_default();
                    match board.odds(odds) {
                        Applied::OutOfStep => News::Resync(region, board.cursor()),
                        _ => News::Changed,
                    }
                }
                Err(_) => News::Nothing,
            },
            "feed" => match serde_json::from_str::<Feed>(payload) {
                Ok(feed) => {
                    self.feeds.insert(feed.region, feed);
                    News::Changed
                }
                Err(_) => News::Nothing,
            },
            _ => News::Nothing,
        }
    }

    /// Where each mirror is, to go on from after a break.
    pub(crate) fn cursors(&self) -> BTreeMap<Region, Cursor> {
        self.boards.iter().filter_map(|(region, board)| Some((*region, board.cursor()?))).collect()
    }
}

/// An event of Socket.IO as it is written in a packet: its name and its payload's JSON.
pub(crate) fn event_of(packet: &str) -> Option<(String, String)> {
    #[derive(Deserialize)]
    struct Event<'a>(String, #[serde(borrow)] &'a serde_json::value::RawValue);
    let Event(name, payload) = serde_json::from_str(packet).ok()?;
    Some((name, payload.get().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURSORS: [&str; 3] = [
        "1.2-3-99aa06d3014798d86001c324468d497f",
        "1.2-4-99aa06d3014798d86001c324468d497e",
        "1.2-5-99aa06d3014798d86001c324468d497d",
    ];

    #[test]
    fn a_gap_asks_for_what_is_missing() {
        let mut live = Live::default();
        let snapshot = format!(r#"{{"region":"us","cursor":"{}","events":[]}}"#, CURSORS[0]);
        assert_eq!(live.take("snapshot", &snapshot), News::Changed);
        let odds = |prev, cursor| format!(r#"{{"region":"us","prev":"{prev}","cursor":"{cursor}","events":[]}}"#);
        assert_eq!(live.take("odds", &odds(CURSORS[0], CURSORS[1])), News::Changed);
        let at = CURSORS[1].parse().unwrap();
        assert_eq!(live.take("odds", &odds(CURSORS[0], CURSORS[2])), News::Resync(Region::Us, Some(at)));
        assert_eq!(live.cursors().get(&Region::Us), Some(&at));
    }

    #[test]
    fn regions_that_are_left_are_forgotten() {
        let mut live = Live::default();
        live.take("snapshot", &format!(r#"{{"region":"us","cursor":"{}","events":[]}}"#, CURSORS[0]));
        live.take("subscriptions", r#"{"v":1,"regions":["uk"]}"#);
        assert!(live.boards.is_empty());
        assert_eq!(live.regions, [Region::Uk]);
    }

    #[test]
    fn a_packet_is_a_name_and_a_payload() {
        assert_eq!(event_of(r#"["odds",{"a":1.90}]"#), Some(("odds".into(), r#"{"a":1.90}"#.into())));
        assert_eq!(event_of("[1]"), None);
    }
}
