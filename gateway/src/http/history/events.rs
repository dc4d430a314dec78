//! Serves which events were on the boards.

use std::sync::Arc;

use ::history::{EventQuery, HistoryError, RecordedEvent, Store};
use axum::{
    extract::{Query, State},
    response::Response,
};
use http::HeaderMap;
use odds::{Details, EventId, Region, SportKey, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{all_if_none, invalid, json_answer, parsed, period, store, unknown};
use crate::{
    http::{
        caller::Caller,
        error::{ApiError, HistoryRefusals, Refusals},
        subscriptions::RegionKey,
    },
    session::AppState,
};

/// How many events an answer has, and how many it may have.
const EVENTS: usize = 200;
const MOST_EVENTS: usize = 1_000;

/// An event's id, sport, start and teams.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::http) struct EventHead {
    #[schema(value_type = String)]
    pub(in crate::http) id: EventId,
    #[schema(value_type = String)]
    pub(in crate::http) sport_key: SportKey,
    pub(in crate::http) sport_title: String,
    #[schema(value_type = String, format = DateTime)]
    pub(in crate::http) commence_time: Timestamp,
    #[schema(required)]
    pub(in crate::http) home_team: Option<String>,
    #[schema(required)]
    pub(in crate::http) away_team: Option<String>,
}

impl EventHead {
    pub(in crate::http) fn new(id: &EventId, details: &Details) -> Self {
        let Details { sport_key, sport_title, commence_time, home_team, away_team } = details.clone();
        Self { id: id.clone(), sport_key, sport_title, commence_time, home_team, away_team }
    }
}

/// What is recorded of one event in a region, until now.
pub(super) async fn recorded_event(
    store: &dyn Store,
    region: Region,
    event: &EventId,
    now: Timestamp,
) -> Result<Option<RecordedEvent>, HistoryError> {
    let query = EventQuery { region, event: Some(event.clone()), from: Timestamp::default(), to: now };
    Ok(store.events(query).await?.pop())
}

#[derive(Debug)]
struct Wanted {
    regions: Vec<Region>,
    sports: Vec<SportKey>,
    /// In small letters.
    text: Option<String>,
    from: Timestamp,
    to: Timestamp,
    limit: usize,
}

impl Wanted {
    fn read(query: Vec<(String, String)>, now: Timestamp) -> Result<Self, ApiError> {
        let (mut regions, mut sports, mut text) = (Vec::new(), Vec::new(), None);
        let (mut from, mut to, mut limit) = (None, None, EVENTS);
        for (field, value) in query {
            match field.as_str() {
                "region" => regions.push(parsed(&field, &value)?),
                "sport" => sports.push(parsed(&field, &value)?),
                "q" => text = Some(value.trim().to_lowercase()).filter(|text| !text.is_empty()),
                "from" => from = Some(parsed(&field, &value)?),
                "to" => to = Some(parsed(&field, &value)?),
                "limit" => limit = parsed(&field, &value)?,
                _ => return Err(unknown(&field, "region, sport, q, from, to or limit")),
            }
        }
        if !(1..=MOST_EVENTS).contains(&limit) {
            return Err(invalid("limit", &format!("expected 1 to {MOST_EVENTS}")));
        }
        let (from, to) = period(from, to, now)?;
        let regions = all_if_none(regions);
        Ok(Self { regions, sports, text, from, to, limit })
    }

    fn admits(&self, details: &Details) -> bool {
        let has = |text: &str| {
            let names = [Some(&details.sport_title), details.home_team.as_ref(), details.away_team.as_ref()];
            names.into_iter().flatten().any(|name| name.to_lowercase().contains(text))
        };
        (self.sports.is_empty() || self.sports.contains(&details.sport_key)) && self.text.as_deref().is_none_or(has)
    }
}

/// The events that were on the boards.
#[derive(Serialize, ToSchema)]
struct RecordedEvents {
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    /// In the order of their starts.
    events: Vec<ListedEvent>,
    /// There are more. Ask for less time, for fewer regions or sports, or with a greater `limit`.
    more: bool,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
struct ListedEvent {
    #[serde(flatten)]
    head: EventHead,
    /// The regions in which it was on the board.
    #[schema(value_type = Vec<RegionKey>)]
    regions: Vec<Region>,
}

/// Returns the events that were on a board at any time between `from` and `to`.
#[utoipa::path(
    get, path = "/api/history/events", tag = "history", security(("session" = []), ("token" = [])),
    params(
        ("region" = Option<Vec<RegionKey>>, Query, description = "Only this one; repeat it for more."),
        ("sport" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("q" = Option<String>, Query, description = "Only events with this text in the names of the teams or the sport."),
        ("from" = Option<String>, Query, description = "A day before `to`, if not given; at most 31 days."),
        ("to" = Option<String>, Query, description = "Now, if not given."),
        ("limit" = Option<u32>, Query, description = "The most events: 1 to 1000; 200 if not given."),
    ),
    responses((status = OK, body = RecordedEvents, description = "The events."), HistoryRefusals, Refusals),
)]
pub(super) async fn recorded_events(
    State(app): State<Arc<AppState>>,
    caller: Caller,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let wanted = Wanted::read(query, (app.clock)())?;
    let store = store(&app)?;
    let _turn = app.history_turns.take(&caller.user.id)?;
    let mut found = Vec::new();
    for region in &wanted.regions {
        let query = EventQuery { region: *region, event: None, from: wanted.from, to: wanted.to };
        let events = store.events(query).await.inspect_err(|error| app.metrics.count_damage(error))?;
        found.push((*region, events));
    }
    let write = move || serde_json::to_string(&answer(&wanted, found)).expect("plain values");
    Ok(json_answer(&headers, "private, no-cache", write).await)
}

fn answer(wanted: &Wanted, found: Vec<(Region, Vec<RecordedEvent>)>) -> RecordedEvents {
    let mut events: Vec<ListedEvent> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (region, in_region) in found {
        for event in in_region {
            let Some(details) = event.newest().filter(|details| wanted.admits(details)) else { continue };
            let place = *places.entry(event.id.clone()).or_insert_with(|| {
                events.push(ListedEvent { head: EventHead::new(&event.id, details), regions: Vec::new() });
                events.len() - 1
            });
            events[place].regions.push(region);
        }
    }
    events.sort_by(|a, b| (a.head.commence_time, &a.head.id).cmp(&(b.head.commence_time, &b.head.id)));
    let more = events.len() > wanted.limit;
    events.truncate(wanted.limit);
    RecordedEvents { from: wanted.from, to: wanted.to, events, more }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &[(&str, &str)]) -> Result<Wanted, ApiError> {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Wanted::read(query, "2026-11-21T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn the_wrong_parameter_is_named() {
        for (query, field) in [
            (&[("region", "fr")][..], "region"),
            (&[("sport", "a b")], "sport"),
            (&[("from", "noon")], "from"),
            (&[("from", "2026-11-22T12:00:00Z")], "from"),
            (&[("from", "2026-10-01T12:00:00Z")], "from"),
            (&[("limit", "0")], "limit"),
            (&[("limit", "1001")], "limit"),
            (&[("event", "a")], "query"),
        ] {
            let Err(ApiError::Invalid { field: named, .. }) = read(query) else { panic!("{query:?}") };
            assert_eq!(named, field, "{query:?}");
        }
    }

    #[test]
    fn text_is_looked_for_in_teams_and_sports() {
        let details = Details {
            sport_key: "soccer_epl".parse().unwrap(),
            sport_title: "EPL".into(),
            commence_time: Timestamp::default(),
            home_team: Some("Leeds United".into()),
            away_team: Some("York".into()),
        };
        for (query, admitted) in [
            (&[("q", " leeds ")][..], true),
            (&[("q", "epl")], true),
            (&[("q", "hull")], false),
            (&[("q", "york"), ("sport", "tennis")], false),
            (&[("sport", "tennis"), ("sport", "soccer_epl")], true),
            (&[("q", "")], true),
        ] {
            assert_eq!(read(query).unwrap().admits(&details), admitted, "{query:?}");
        }
    }
}
