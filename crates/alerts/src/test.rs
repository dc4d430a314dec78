//! Whether a rule would fire now, and if not, what is missing.

use odds::{EventId, Region, Timestamp};
use serde::Serialize;

use crate::{
    Boards, Facts, Kind, Rule,
    market_now::MarketNow,
    measure::{GroupKey, Measure, Place, Threshold},
    sight::Sight,
};

/// What a rule would do by the boards of this moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Test {
    pub would_fire: bool,
    /// Why it would not, if it would not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
    /// What comes closest to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closest: Option<Facts>,
}

/// What keeps a rule from firing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// No board of the rule's regions is there.
    NoBoard,
    /// No board has the event, or an event of the sport.
    NoEvent,
    /// The prices are not live.
    NotLive,
    /// There is no such price.
    NoPrice,
    /// The value is not reached.
    NotReached,
    /// The alerter knows it: it depends on how prices moved, or on how long a region was not live.
    NeedsHistory,
}

/// Evaluates a rule by the boards alone.
pub fn test(rule: &Rule, boards: &Boards<'_>, now: Timestamp) -> Test {
    let missing = |missing| Test { would_fire: false, missing: Some(missing), closest: None };
    if rule.scope.regions.iter().all(|region| boards.get(region).is_none()) {
        return missing(Missing::NoBoard);
    }
    if matches!(rule.kind, Kind::Move { .. } | Kind::Line { .. } | Kind::Feed { .. }) {
        return missing(Missing::NeedsHistory);
    }
    let key = GroupKey::of(rule);
    let events = events_of(&key, boards);
    if events.is_empty() {
        return missing(Missing::NoEvent);
    }
    let readings: Vec<(f64, bool, Facts)> = match &key.market {
        None => events.iter().filter_map(|event| start(&key, event, boards, now)).collect(),
        Some(market) => {
            let read = |event| MarketNow::read(boards, event, market, now);
            let markets: Vec<MarketNow> = events.iter().filter_map(read).collect();
            let quotes = || markets.iter().flat_map(|market| &market.quotes);
            if quotes().next().is_some() && quotes().all(|quote| !quote.is_live) {
                return missing(Missing::NotLive);
            }
            let readings = markets.iter().flat_map(|market| key.readings(&mut Sight::new(market, None, now)));
            readings.map(|reading| (reading.level, reading.may_fire, reading.facts)).collect()
        }
    };
    let threshold = Threshold::of(&rule.kind);
    match readings.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)) {
        None => missing(Missing::NoPrice),
        Some((level, may_fire, facts)) => {
            let would_fire = level >= threshold.fires_at && may_fire;
            let missing = match (would_fire, may_fire) {
                (true, _) => None,
                (false, true) => Some(Missing::NotReached),
                (false, false) => Some(Missing::NotLive),
            };
            Test { would_fire, missing, closest: Some(Facts { kind: rule.kind.key().to_owned(), ..facts }) }
        }
    }
}

fn events_of(key: &GroupKey, boards: &Boards<'_>) -> Vec<EventId> {
    let views = key.regions.iter().filter_map(|region: Region| boards.get(region));
    let ids = views.flat_map(|view| {
        let is_wanted = move |id: &&EventId| match &key.place {
            Place::Event(event) => *id == event,
            Place::Sport(sport) => view.board.details(id).is_some_and(|details| details.sport_key == *sport),
            Place::Regions => false,
        };
        view.board.event_ids().filter(is_wanted).cloned()
    });
    ids.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

fn start(key: &GroupKey, event: &EventId, boards: &Boards<'_>, now: Timestamp) -> Option<(f64, bool, Facts)> {
    debug_assert_eq!(key.measure, Measure::Start);
    let details = boards.details_of(event, key.regions)?;
    let is_wanted = key.team.as_ref().is_none_or(|team| MarketNow::has_team(details, team));
    let minutes = details.commence_time.millis_since(now) as f64 / 60_000.0;
    let facts = Facts { value: Some(crate::measure::rounded(minutes)), ..Facts::default() };
    (is_wanted && minutes > 0.0).then(|| (-minutes, true, facts.about_event(event, details)))
}
