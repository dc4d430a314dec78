//! The simulator's imitation of odds-api.io: its paths, parameters, headers and errors, for the same world.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, HeaderName, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use odds::{Region, SportKey, Timestamp};
use serde_json::{Value, json};

use super::{
    Admitted, Denied, Params, Simulator,
    catalogue::{Contest, SPORTS, Sport, bookmakers},
    world::{Event, Market},
};
use crate::source::{bookmaker_key, league};

const HOUR: i64 = 60 * 60 * 1000;
/// The most events and the most bookmakers of one request.
const MAX_EVENTS: usize = 10;
const MAX_BOOKMAKERS: usize = 30;
/// How far back it tells what has changed, in milliseconds.
const CHANGES_SINCE: i64 = 60 * 1000;

pub(super) fn router() -> Router<Simulator> {
    Router::new()
        .route("/v3/sports", get(sports))
        .route("/v3/events", get(events))
        .route("/v3/odds", get(odds_of_one))
        .route("/v3/odds/multi", get(odds))
        .route("/v3/odds/updated", get(updated))
}

/// A league of the world, with its slugs.
struct Served {
    sport: &'static Sport,
    sport_slug: String,
    league_slug: String,
}

/// The sports of the world that this API has: it has no outrights.
fn served() -> Vec<Served> {
    let pairs = SPORTS.iter().filter(|sport| sport.contest != Contest::Outright);
    let served = pairs.filter_map(|sport| {
        let league = league(&sport.key.parse().expect("the catalogue's keys are valid"))?;
        Some(Served { sport, sport_slug: league.sport, league_slug: league.league })
    });
    served.collect()
}

/// The keys of the leagues that this API has.
pub(crate) fn leagues() -> Vec<SportKey> {
    served().iter().map(|served| served.sport.key.parse().expect("the catalogue's keys are valid")).collect()
}

/// The names of a region's bookmakers at this API.
pub(crate) fn bookmaker_names(region: Region) -> Vec<String> {
    bookmakers(region).iter().map(|(key, _)| name_of(key)).collect()
}

/// The name of a bookmaker. Unlike its title, it is unique.
fn name_of(key: &str) -> String {
    let all = || Region::ALL.into_iter().flat_map(|region| bookmakers(region).iter().map(move |it| (region, it)));
    let (region, (_, title)) = all().find(|(_, (known, _))| *known == key).expect("the key is in the catalogue");
    let is_unique = all().all(|(_, (known, other))| other != title || *known == key);
    if is_unique { (*title).to_owned() } else { format!("{title} {}", region.key().to_uppercase()) }
}

/// All bookmakers' keys by name.
fn keys_by_name() -> BTreeMap<String, &'static str> {
    let keys = Region::ALL.into_iter().flat_map(|region| bookmakers(region).iter().map(|(key, _)| *key));
    keys.map(|key| (name_of(key), key)).collect()
}

fn id_of(event: &Event) -> u64 {
    // A number that JavaScript can represent, too.
    u64::from_str_radix(&event.id[..12], 16).expect("ids are hexadecimal")
}

/// A refusal in upstream's format.
struct Refusal(StatusCode, String);

impl From<Refusal> for Response {
    fn from(Refusal(status, text): Refusal) -> Self {
        (status, Json(json!({ "error": text }))).into_response()
    }
}

fn bad_request(text: impl Into<String>) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, text.into())
}

fn parameter<'a>(query: &'a HashMap<String, String>, name: &str) -> Result<&'a str, Refusal> {
    let value = query.get(name).filter(|text| !text.is_empty());
    value.map(String::as_str).ok_or_else(|| bad_request(format!("missing parameter: {name}")))
}

/// Reads the names of bookmakers, and returns their keys.
fn wanted_bookmakers(text: &str) -> Result<BTreeSet<&'static str>, Refusal> {
    let known = keys_by_name();
    let unknown = |name: &str| bad_request(format!("unknown bookmaker: {name}"));
    let wanted = text.split(',').map(|name| known.get(name).copied().ok_or_else(|| unknown(name)));
    let wanted = wanted.collect::<Result<BTreeSet<_>, _>>()?;
    if wanted.len() > MAX_BOOKMAKERS { Err(bad_request("too many bookmakers")) } else { Ok(wanted) }
}

fn of_sport(slug: &str) -> Result<Vec<Served>, Refusal> {
    let of_sport: Vec<Served> = served().into_iter().filter(|served| served.sport_slug == slug).collect();
    if of_sport.is_empty() {
        return Err(Refusal(StatusCode::NOT_FOUND, format!("unknown sport: {slug}")));
    }
    Ok(of_sport)
}

impl Simulator {
    /// Checks the key, counts the request, and returns the headers that tell how many are left.
    async fn counted(&self, query: &HashMap<String, String>) -> Result<(Admitted, HeaderMap), Response> {
        let refuse = |status, text: &str| Refusal(status, text.to_owned()).into();
        let admitted = self.admit(query).await.map_err(|denied| match denied {
            Denied::NoKey => refuse(StatusCode::UNAUTHORIZED, "missing API key"),
            Denied::BadKey => refuse(StatusCode::UNAUTHORIZED, "invalid API key"),
            Denied::TooFast => refuse(StatusCode::TOO_MANY_REQUESTS, "too many requests at once"),
            Denied::Broken(response) => response,
        })?;
        let (limit, now) = (self.0.requests_per_hour, (self.0.clock)());
        let reset = Timestamp::from_millis((now.as_millis().div_euclid(HOUR) + 1) * HOUR);
        let mut state = self.state();
        let asked = state.asked.entry(admitted.key.clone()).or_insert((reset, 0.0));
        if asked.0 != reset {
            *asked = (reset, 0.0);
        }
        let is_refused = asked.1 >= limit;
        asked.1 += if is_refused { 0.0 } else { 1.0 };
        let mut headers = HeaderMap::new();
        let values =
            [("limit", limit.to_string()), ("remaining", (limit - asked.1).to_string()), ("reset", reset.to_string())];
        for (name, value) in values {
            let name: HeaderName = format!("x-ratelimit-{name}").parse().expect("a valid header name");
            headers.insert(name, value.parse().expect("a valid header value"));
        }
        if is_refused {
            let refusal: Response = Refusal(StatusCode::TOO_MANY_REQUESTS, "rate limit exceeded".into()).into();
            return Err((headers, refusal).into_response());
        }
        Ok((admitted, headers))
    }

    /// A league's events with these bookmakers, whatever their region.
    fn league_events(&self, sport: &'static Sport, wanted: &BTreeSet<&str>, at: Timestamp) -> Vec<Event> {
        let has_wanted = |region: &Region| bookmakers(*region).iter().any(|(key, _)| wanted.contains(key));
        let regions: Vec<Region> = Region::ALL.into_iter().filter(has_wanted).collect();
        let mut merged: Vec<Event> = Vec::new();
        for region in if regions.is_empty() { vec![Region::Us] } else { regions } {
            for mut event in self.0.world.events(sport, region, at) {
                event.bookmakers.retain(|bookmaker| wanted.contains(bookmaker.key));
                match merged.iter_mut().find(|known| known.id == event.id) {
                    None => merged.push(event),
                    Some(known) => {
                        event.bookmakers.retain(|new| known.bookmakers.iter().all(|known| known.key != new.key));
                        known.bookmakers.extend(event.bookmakers);
                    }
                }
            }
        }
        merged
    }

    fn odds_of(&self, ids: &BTreeSet<u64>, wanted: &BTreeSet<&str>) -> Vec<Value> {
        let now = self.now();
        let mut odds = Vec::new();
        for served in served() {
            // Making up a league's odds takes long, and ids are usually of one league.
            if odds.len() == ids.len() {
                break;
            }
            for event in self.league_events(served.sport, wanted, now) {
                if ids.contains(&id_of(&event)) {
                    let markets = |markets: &[Market]| markets.iter().filter_map(|it| market(&event, it)).collect();
                    odds.push(with_bookmakers(written(&served, &event, now), &event, markets));
                }
            }
        }
        odds
    }
}

/// An event without its odds.
fn written(served: &Served, event: &Event, now: Timestamp) -> Value {
    let words = served.sport_slug.split('-').map(|word| word[..1].to_uppercase() + &word[1..]);
    json!({
        "id": id_of(event),
        "home": event.home_team,
        "away": event.away_team,
        "date": event.commence_time,
        "status": if event.commence_time <= now { "live" } else { "pending" },
        "sport": { "name": words.collect::<Vec<_>>().join(" "), "slug": served.sport_slug },
        "league": { "name": served.sport.title, "slug": served.league_slug },
    })
}

/// Adds the bookmakers with those of their markets that are returned.
fn with_bookmakers(mut value: Value, event: &Event, markets: impl Fn(&[Market]) -> Vec<Value>) -> Value {
    let mut all = serde_json::Map::new();
    for bookmaker in &event.bookmakers {
        all.insert(name_of(bookmaker.key), json!(markets(&bookmaker.markets)));
    }
    value["bookmakers"] = Value::Object(all);
    value
}

/// A market in upstream's form: prices are text, and a line has all of its sides. None for a market that it doesn't have.
fn market(event: &Event, market: &Market) -> Option<Value> {
    let (home, away) = (event.home_team?, event.away_team?);
    let named = |name: &'static str| market.outcomes.iter().filter(move |outcome| outcome.name == name);
    let price =
        |name, point| named(name).find(|outcome| outcome.point == point).map(|outcome| outcome.price.to_string());
    let (name, lines): (_, Vec<Value>) = match market.key {
        "h2h" => {
            let mut line = json!({ "home": price(home, None), "away": price(away, None) });
            if let Some(draw) = price("Draw", None) {
                line["draw"] = json!(draw);
            }
            ("ML", vec![line])
        }
        "spreads" => {
            let lines = named(home).filter_map(|outcome| {
                let point = outcome.point?;
                let away = price(away, Some(point.negated()));
                Some(json!({ "hdp": point, "home": outcome.price.to_string(), "away": away }))
            });
            ("Spread", lines.collect())
        }
        "totals" => {
            let lines = named("Over").filter_map(|outcome| {
                let point = outcome.point?;
                let under = price("Under", Some(point));
                Some(json!({ "hdp": point, "over": outcome.price.to_string(), "under": under }))
            });
            ("Totals", lines.collect())
        }
        _ => return None,
    };
    Some(json!({ "name": name, "updatedAt": market.last_update, "odds": lines }))
}

/// The events that this API has, in the form of the simulator's truth, with this API's ids and bookmakers.
pub(super) fn truth(events: &[Event]) -> Value {
    let leagues = leagues();
    let is_served = |event: &&Event| leagues.iter().any(|league| league.as_str() == event.sport_key);
    let of_event = |event: &Event| {
        let mut value = json!(event);
        value["id"] = json!(id_of(event).to_string());
        let bookmakers = event.bookmakers.iter().map(|bookmaker| {
            let name = name_of(bookmaker.key);
            let markets = bookmaker.markets.iter().filter(|it| matches!(it.key, "h2h" | "spreads" | "totals"));
            let key = bookmaker_key(&name).expect("the catalogue's names make keys");
            json!({ "key": key, "title": name, "markets": markets.collect::<Vec<_>>() })
        });
        value["bookmakers"] = bookmakers.collect();
        value
    };
    events.iter().filter(is_served).map(of_event).collect()
}

async fn sports() -> Json<Value> {
    let slugs: BTreeSet<String> = served().into_iter().map(|served| served.sport_slug).collect();
    Json(slugs.into_iter().map(|slug| json!({ "name": slug.replace('-', " "), "slug": slug })).collect())
}

async fn events(State(simulator): State<Simulator>, Query(query): Params) -> Result<Response, Response> {
    let (admitted, headers) = simulator.counted(&query).await?;
    let leagues = of_sport(parameter(&query, "sport")?)?;
    let league = query.get("league");
    if league.is_some_and(|slug| leagues.iter().all(|served| served.league_slug != *slug)) {
        return Err(Refusal(StatusCode::NOT_FOUND, "unknown league".into()).into());
    }
    let statuses: Option<Vec<&str>> = query.get("status").map(|text| text.split(',').collect());
    let now = simulator.now();
    let mut list = Vec::new();
    for served in leagues.iter().filter(|served| league.is_none_or(|slug| served.league_slug == *slug)) {
        for event in simulator.league_events(served.sport, &BTreeSet::new(), now) {
            let event = written(served, &event, now);
            let status = event["status"].as_str().unwrap_or_default();
            if statuses.as_ref().is_none_or(|wanted| wanted.contains(&status)) {
                list.push(event);
            }
        }
    }
    Ok(admitted.answer(headers, &json!(list)))
}

async fn odds_of_one(State(simulator): State<Simulator>, Query(query): Params) -> Result<Response, Response> {
    let (admitted, headers) = simulator.counted(&query).await?;
    let wanted = wanted_bookmakers(parameter(&query, "bookmakers")?)?;
    let id = parameter(&query, "eventId")?.parse().map_err(|_| bad_request("eventId is no number"))?;
    let odds = simulator.odds_of(&[id].into(), &wanted).pop();
    let unknown = || Refusal(StatusCode::NOT_FOUND, format!("unknown event: {id}"));
    Ok(admitted.answer(headers, &odds.ok_or_else(unknown)?))
}

async fn odds(State(simulator): State<Simulator>, Query(query): Params) -> Result<Response, Response> {
    let (admitted, headers) = simulator.counted(&query).await?;
    let wanted = wanted_bookmakers(parameter(&query, "bookmakers")?)?;
    let ids = parameter(&query, "eventIds")?.split(',').map(str::parse).collect::<Result<BTreeSet<u64>, _>>();
    let ids = ids.map_err(|_| bad_request("eventIds are no numbers"))?;
    if ids.len() > MAX_EVENTS {
        return Err(bad_request("too many events").into());
    }
    Ok(admitted.answer(headers, &json!(simulator.odds_of(&ids, &wanted))))
}

/// What a bookmaker's markets are now, if they were different or not there at an earlier time. Markets that have been
/// withdrawn since are not in the answer.
async fn updated(State(simulator): State<Simulator>, Query(query): Params) -> Result<Response, Response> {
    let (admitted, headers) = simulator.counted(&query).await?;
    let leagues = of_sport(parameter(&query, "sport")?)?;
    let wanted = wanted_bookmakers(parameter(&query, "bookmaker")?)?;
    if wanted.len() != 1 {
        return Err(bad_request("one bookmaker at a time").into());
    }
    let markets: Vec<&str> = parameter(&query, "markets")?.split(',').collect();
    let since: i64 = parameter(&query, "since")?.parse().map_err(|_| bad_request("since is no Unix time"))?;
    let since = Timestamp::from_millis(since.saturating_mul(1_000));
    if (simulator.0.clock)().millis_since(since) > CHANGES_SINCE + 1_000 {
        return Err(bad_request("since is more than a minute ago").into());
    }
    let now = simulator.now();
    let mut list = Vec::new();
    for served in &leagues {
        let before = simulator.league_events(served.sport, &wanted, since.min(now));
        for event in simulator.league_events(served.sport, &wanted, now) {
            let earlier = before.iter().find(|earlier| earlier.id == event.id);
            let earlier = earlier.and_then(|earlier| earlier.bookmakers.first());
            let is_changed = |market: &&Market| {
                let earlier = earlier.and_then(|bookmaker| bookmaker.markets.iter().find(|it| it.key == market.key));
                earlier.is_none_or(|earlier| earlier.outcomes != market.outcomes)
            };
            let wanted = |markets_of: &[Market]| {
                let changed = markets_of.iter().filter(is_changed).filter_map(|it| market(&event, it));
                changed.filter(|it| it["name"].as_str().is_some_and(|name| markets.contains(&name))).collect::<Vec<_>>()
            };
            if event.bookmakers.iter().any(|bookmaker| !wanted(&bookmaker.markets).is_empty()) {
                list.push(with_bookmakers(written(served, &event, now), &event, wanted));
            }
        }
    }
    Ok(admitted.answer(headers, &json!(list)))
}
