//! Tests of the recorded history over REST: any board of the past is exactly what clients had, and a gap is named.

use std::{collections::BTreeMap, io::Read};

use odds::OddsPayload;
use serde_json::{Value, json, value::RawValue};

use crate::{
    guest::BEARER,
    http,
    past::{Events, Had, Past, events, get},
    stage::Stage,
};

fn code(answer: &http::Answer) -> (u16, Value) {
    (answer.status, answer.json()["error"]["code"].clone())
}

/// A line of what was recorded.
#[derive(Debug, serde::Deserialize)]
struct Line {
    event: String,
    at: String,
    /// Not a value: prices keep the exact text of their numbers.
    data: Box<RawValue>,
}

impl Line {
    fn json(&self) -> Value {
        serde_json::from_str(self.data.get()).unwrap()
    }
}

fn lines(body: &[u8]) -> Vec<Line> {
    std::str::from_utf8(body).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Mirrors lines as a client would. Returns the events after each cursor.
fn mirror(lines: &[Line], mut cursor: String, mut shown: Events) -> BTreeMap<String, Events> {
    let mut boards = BTreeMap::from([(cursor.clone(), shown.clone())]);
    for line in lines {
        match line.event.as_str() {
            "snapshot" => shown = events(line.data.get().as_bytes()),
            "odds" => {
                let odds: OddsPayload = serde_json::from_str(line.data.get()).unwrap();
                assert_eq!(odds.prev.to_string(), cursor);
                odds.events.into_iter().for_each(|change| change.apply_to(&mut shown));
            }
            "feed" | "gap" | "end" => continue,
            other => panic!("{other}: {line:?}"),
        }
        cursor = line.json()["cursor"].as_str().unwrap().to_owned();
        boards.insert(cursor.clone(), shown.clone());
    }
    boards
}

async fn changes(past: &Past, query: &str) -> Vec<Line> {
    let answer = get(&past.gateway, &format!("/api/history/changes/uk?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", String::from_utf8_lossy(&answer.body));
    lines(&answer.body)
}

fn kinds(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.event.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_board_of_the_past_is_what_clients_had_then() {
    let mut past = Past::begin().await;
    let nothing = get(&past.gateway, "/api/history/board/uk?at=2026-11-21T12:00:00Z").await;
    assert_eq!(code(&nothing), (409, json!("not_recorded")));
    past.go_on(12).await;
    let newest = past.newest_is_recorded().await;
    for Had { cursor, events: events_then, time } in &past.had {
        for path in [format!("cursor={cursor}"), format!("at={time}")] {
            let board = get(&past.gateway, &format!("/api/history/board/uk?{path}")).await;
            assert_eq!(board.status, 200, "{path}: {}", String::from_utf8_lossy(&board.body));
            assert_eq!((&board.json()["cursor"], &board.json()["verified"]), (&json!(cursor), &json!(true)), "{path}");
            assert_eq!(&events(&board.body), events_then, "{path}");
        }
    }
    let id = past.had.last().unwrap().events.keys().next().unwrap();
    let recorded = get(&past.gateway, &format!("/api/history/events/{id}")).await.json();
    assert_eq!((&recorded["id"], &recorded["regions"][0]["region"]), (&json!(id), &json!("uk")));
    assert!(recorded["regions"][0]["price_changes"].is_u64() && recorded["regions"][0]["first_seen"].is_string());
    // The prices of an outcome are those of the boards.
    let last = past.had.last().unwrap();
    let (id, event) = last.events.iter().find(|(_, event)| !event.quotes.is_empty()).unwrap();
    let ((_, market), quote) = event.quotes.iter().next().unwrap();
    let outcome = quote.outcomes.to_vec().remove(0);
    let mut path = format!("/api/history/series?event={id}&market={market}&outcome={}", outcome.name);
    if let Some(point) = outcome.point {
        path += &format!("&point={point}");
    }
    let series = get(&past.gateway, &path).await.json();
    for Had { events, time, .. } in &past.had {
        for bookmaker in series["series"].as_array().unwrap() {
            let times = bookmaker["times"].as_array().unwrap();
            let at = times.iter().rposition(|at| at.as_i64().unwrap() <= time.as_millis());
            let said = at.and_then(|at| bookmaker["prices"][at].as_f64());
            let key = (bookmaker["bookmaker"].as_str().unwrap().parse().unwrap(), market.clone());
            let quote = events.get(id).and_then(|event| event.quotes.get(&key));
            let is_wanted = |it: &odds::Outcome| (&it.name, it.point) == (&outcome.name, outcome.point);
            let there = quote.and_then(|quote| quote.outcomes.to_vec().into_iter().find(is_wanted));
            assert_eq!(said, there.map(|it| it.price.to_f64()), "at {time}: {bookmaker}");
        }
    }
    let of_uk = series["regions"].as_array().unwrap().iter().find(|it| it["region"] == "uk").unwrap();
    assert_eq!(of_uk["cursor"], last.cursor);
    assert_eq!((&of_uk["gaps"][0]["from"], of_uk["gaps"].as_array().unwrap().len()), (&json!(null), 1));
    let zipped = http::get(&past.gateway.address, &newest, &[BEARER, ("accept-encoding", "gzip")]).await;
    assert_eq!(zipped.headers["content-encoding"], "gzip");
    past.stop_recording().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_changes_lead_through_every_board_that_clients_had() {
    let mut past = Past::begin().await;
    past.go_on(12).await;
    past.newest_is_recorded().await;

    let all = changes(&past, &format!("from={}", past.had[0].time)).await;
    assert_eq!((kinds(&all)[0], *kinds(&all).last().unwrap()), ("snapshot", "end"));
    let boards = mirror(&all, String::new(), Events::new());
    for (n, had) in past.had.iter().enumerate() {
        assert_eq!(boards.get(&had.cursor), Some(&had.events), "board {n}");
    }
    // Of the time before, nothing is recorded.
    let earlier = changes(&past, "from=2026-11-21T12:00:00Z").await;
    assert_eq!(kinds(&earlier)[..3], ["gap", "snapshot", "feed"]);
    let gap = earlier[0].json();
    assert_eq!((&gap["from"], gap["until"].as_str()), (&json!(null), Some(&*earlier[1].at)));
    // From each board on, the rest is the same.
    for had in &past.had {
        let rest = changes(&past, &format!("after={}", had.cursor)).await;
        let at_end = mirror(&rest, had.cursor.clone(), had.events.clone()).remove(&past.had.last().unwrap().cursor);
        assert_eq!(at_end.as_ref(), Some(&past.had.last().unwrap().events));
        let end = rest.last().unwrap();
        assert_eq!((&*end.event, &end.json()["cursor"]), ("end", &json!(past.had.last().unwrap().cursor)));
    }
    // Until a time, as a compressed answer.
    let path = format!("/api/history/changes/uk?from={}&to={}", past.had[0].time, past.had[3].time);
    let zipped = http::get(&past.gateway.address, &path, &[BEARER, ("accept-encoding", "gzip")]).await;
    assert_eq!(zipped.headers["content-encoding"], "gzip");
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&zipped.body[..]).read_to_end(&mut plain).unwrap();
    assert_eq!(lines(&plain).last().unwrap().json()["cursor"], past.had[3].cursor);
    assert_eq!(plain, get(&past.gateway, &path).await.body);

    // Of one market, each line passes the filter, and its cursors are good for the filter only.
    let of_market = changes(&past, &format!("from={}&market=m1", past.had[0].time)).await;
    let is_of_market = |quote: &Value| quote["market"] == "m1";
    for line in &of_market {
        let data = line.json();
        let events = data["events"].as_array().into_iter().flatten();
        assert!(
            events.flat_map(|event| event["quotes"].as_array().into_iter().flatten()).all(is_of_market),
            "{line:?}"
        );
    }
    let end = of_market.last().unwrap().json();
    let cursor = end["cursor"].as_str().unwrap();
    assert_eq!(kinds(&changes(&past, &format!("after={cursor}&market=m1")).await), ["feed", "end"]);
    let other = get(&past.gateway, &format!("/api/history/changes/uk?after={cursor}")).await;
    assert_eq!(code(&other), (422, json!("invalid")));
    past.stop_recording().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_prices_are_those_of_the_board_and_have_a_consensus() {
    let mut past = Past::begin().await;
    past.go_on(6).await;
    past.newest_is_recorded().await;
    let mut complete = 0;
    for had in &past.had {
        for (id, event) in had.events.iter().filter(|(_, event)| !event.quotes.is_empty()).take(3) {
            let path = format!("/api/history/events/{id}/closing?at={}", had.time);
            let answer = get(&past.gateway, &path).await.json();
            let of_uk = &answer["regions"][0];
            assert_eq!((&of_uk["region"], &of_uk["is_certain"]), (&json!("uk"), &json!(true)), "{answer}");
            let mut said = Vec::new();
            for line in of_uk["lines"].as_array().unwrap() {
                let outcomes = line["outcomes"].as_array().unwrap();
                for outcome in outcomes {
                    for price in outcome["prices"].as_array().unwrap() {
                        let of = [&price["bookmaker"], &line["market"], &outcome["name"]].map(Value::to_string);
                        said.push(format!("{} {}", of.join(" "), price["price"].as_f64().unwrap()));
                    }
                }
                let probabilities: Vec<f64> = outcomes.iter().filter_map(|it| it["probability"].as_f64()).collect();
                if line["bookmakers"] != 0 {
                    complete += 1;
                    assert_eq!(probabilities.len(), outcomes.len());
                    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{line}");
                }
            }
            let mut expected = Vec::new();
            for ((bookmaker, market), quote) in &event.quotes {
                for outcome in quote.outcomes.to_vec() {
                    let of = [json!(bookmaker), json!(market), json!(outcome.name)].map(|value| value.to_string());
                    expected.push(format!("{} {}", of.join(" "), outcome.price.to_f64()));
                }
            }
            said.sort_unstable();
            expected.sort_unstable();
            assert_eq!(said, expected, "{path}");
        }
    }
    assert!(complete > 0);
    let id = past.had[0].events.keys().next().unwrap();
    // They have not started.
    let later = get(&past.gateway, &format!("/api/history/events/{id}/closing")).await;
    assert_eq!(code(&later), (409, json!("not_recorded")));
    let wrong = get(&past.gateway, &format!("/api/history/events/{id}/closing?price=2")).await;
    assert!(wrong.json()["error"]["fields"]["price"].is_string());
    let unknown = get(&past.gateway, "/api/history/events/nobody-knows-it/closing").await;
    assert_eq!(code(&unknown), (404, json!("not_found")));
    past.stop_recording().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_the_history_that_makes_no_sense_is_explained() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("a", &[&stage.history_setting()]).await;
    for (path, field) in [
        ("board/uk", "query"),
        ("board/uk?at=yesterday", "at"),
        ("board/uk?cursor=1", "cursor"),
        ("board/uk?at=2026-11-21T12:00:00Z&cursor=1", "query"),
        ("board/uk?from=2026-11-21T12:00:00Z", "query"),
        ("series", "event"),
        ("sparklines", "region"),
        ("events?limit=0", "limit"),
        ("events/a?to=noon", "to"),
        ("changes/uk", "query"),
        ("changes/uk?from=yesterday", "from"),
        ("changes/uk?after=1", "after"),
        ("changes/uk?from=2026-11-21T12:00:00Z&to=2026-11-21T11:00:00Z", "to"),
        ("changes/uk?from=2026-11-21T12:00:00Z&from=2026-11-21T12:00:00Z", "query"),
        ("changes/uk?from=2026-11-21T12:00:00Z&sports=x", "query"),
        ("changes/uk?from=2026-11-21T12:00:00Z&sport=a%20b", "sport"),
    ] {
        let answer = get(&gateway, &format!("/api/history/{path}")).await;
        assert_eq!(code(&answer), (422, json!("invalid")), "{path}");
        assert!(answer.json()["error"]["fields"][field].is_string(), "{path}: {}", answer.json());
    }
    let answer = get(&gateway, "/api/movers").await;
    assert_eq!(code(&answer), (422, json!("invalid")));
    for path in ["board/fr?at=2026-11-21T12:00:00Z", "events/nobody-knows-it", "events/a%20b"] {
        assert_eq!(code(&get(&gateway, &format!("/api/history/{path}")).await), (404, json!("not_found")), "{path}");
    }
    let path = "/api/history/board/uk?at=2026-11-21T12:00:00Z";
    assert_eq!(code(&http::get(&gateway.address, path, &[]).await), (401, json!("unauthenticated")));
    let without = stage.gateway("b", &[]).await;
    assert_eq!(code(&get(&without, path).await), (501, json!("history_disabled")));
}
