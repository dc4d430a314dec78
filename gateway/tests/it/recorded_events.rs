//! Tests of what is said about recorded events: which there were, what their prices did, and what moved.

use std::collections::{BTreeMap, BTreeSet};

use history::{Append, Recorder, StoreUrl};
use odds::{Decimal, Timestamp};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use testkit::region::{Events, Region};

use crate::{
    author::{draw_board, draw_changes},
    past::get,
    stage::{Running, Stage},
};

const EVENTS: u32 = 12;
const STEPS: i64 = 180;
const MINUTE_MS: i64 = 60_000;

/// A gateway with the history of three hours, and the board of each minute.
struct Recorded {
    _stage: Stage,
    gateway: Running,
    boards: Vec<(Timestamp, Events)>,
}

impl Recorded {
    async fn new() -> Self {
        let stage = Stage::set().await;
        let store = stage.history_setting().split_once('=').unwrap().1.parse::<StoreUrl>().unwrap();
        let store = store.open().await.unwrap();
        let mut random = StdRng::seed_from_u64(5);
        let mut region = Region::new(service::now().plus_millis(-STEPS * MINUTE_MS));
        let (mut recorder, mut steps, mut boards) = (Recorder::default(), Vec::new(), Vec::new());
        for n in 0..STEPS {
            let changes = if n == 0 { draw_board(&mut random, EVENTS) } else { draw_changes(&mut random, EVENTS) };
            changes.into_iter().for_each(|(id, image)| region.want(id, image));
            region.publish(&mut random);
            steps.push(recorder.record(&region.reader).unwrap());
            boards.push((region.now(), region.events()));
            region.wait(MINUTE_MS);
        }
        assert_eq!(store.append(odds::Region::Uk, steps.into()).await.unwrap(), Append::Stored);
        let gateway = stage.gateway("a", &[&stage.history_setting()]).await;
        Self { _stage: stage, gateway, boards }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = get(&self.gateway, path).await;
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    /// The probability of each outcome of an event at a time, by its market and name.
    async fn probabilities(&self, id: &str, at: &str) -> BTreeMap<(String, String), f64> {
        let answer = get(&self.gateway, &format!("/api/history/events/{id}/closing?at={at}")).await.json();
        let lines = answer["regions"][0]["lines"].as_array().cloned().unwrap_or_default();
        let mut all = BTreeMap::new();
        for line in lines {
            for outcome in line["outcomes"].as_array().unwrap() {
                let key = (text(&line["market"]), text(&outcome["name"]));
                all.extend(outcome["probability"].as_f64().map(|probability| (key, probability)));
            }
        }
        all
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn is_near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-4
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_a_time_are_those_on_its_boards() {
    let recorded = Recorded::new().await;
    let (from, to) = (recorded.boards[50].0, recorded.boards[60].0);
    let expected: BTreeSet<String> =
        recorded.boards[50..=60].iter().flat_map(|(_, events)| events.keys().map(ToString::to_string)).collect();
    let path = format!("/api/history/events?region=uk&from={from}&to={to}");
    let listed = recorded.get(&path).await;
    let ids = |listed: &Value| -> BTreeSet<String> {
        listed["events"].as_array().unwrap().iter().map(|it| text(&it["id"])).collect()
    };
    assert_eq!((ids(&listed), &listed["more"]), (expected.clone(), &json!(false)));
    let starts: Vec<String> =
        listed["events"].as_array().unwrap().iter().map(|it| text(&it["commence_time"])).collect();
    assert!(starts.is_sorted(), "{starts:?}");
    assert_eq!(listed["events"][0]["regions"], json!(["uk"]));
    let some = recorded.get(&format!("{path}&limit=1")).await;
    assert_eq!((ids(&some).len(), &some["more"]), (1, &json!(true)));
    let id = expected.first().unwrap();
    let home = format!("home%20{}", id.trim_start_matches("event-"));
    assert!(ids(&recorded.get(&format!("{path}&q={home}")).await).contains(id));
    assert_eq!(ids(&recorded.get(&format!("{path}&q=nobody")).await), BTreeSet::new());
    // Nothing was recorded in another region.
    let elsewhere = recorded.get(&format!("/api/history/events?region=us&from={from}&to={to}")).await;
    assert_eq!(elsewhere["events"], json!([]));
}

/// What a price did, by the boards: the first and the last, the lowest and the highest, and how often it changed.
fn did(prices: &[Decimal]) -> (f64, f64, f64, f64, u64) {
    let changes = prices.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let (lowest, highest) = (prices.iter().min().unwrap(), prices.iter().max().unwrap());
    let [first, last] = [prices[0], prices[prices.len() - 1]];
    (first.to_f64(), last.to_f64(), lowest.to_f64(), highest.to_f64(), changes as u64)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_says_what_its_prices_did() {
    let recorded = Recorded::new().await;
    for id in recorded.boards[100].1.keys() {
        let mut by_boards: BTreeMap<(String, String, String), Vec<Decimal>> = BTreeMap::new();
        for event in recorded.boards.iter().filter_map(|(_, events)| events.get(id)) {
            for ((bookmaker, market), quote) in &event.quotes {
                for outcome in quote.outcomes.to_vec() {
                    let key = (bookmaker.to_string(), market.to_string(), outcome.name);
                    by_boards.entry(key).or_default().push(outcome.price);
                }
            }
        }
        let answer = recorded.get(&format!("/api/history/events/{id}")).await;
        let of_uk = &answer["regions"][0];
        let first = recorded.boards.iter().find(|(_, events)| events.contains_key(id)).unwrap().0;
        assert_eq!((text(&of_uk["event"]["id"]), text(&of_uk["first_seen"])), (id.to_string(), first.to_string()));
        let prices = of_uk["prices"].as_array().unwrap();
        assert_eq!(prices.len(), by_boards.len(), "{id}");
        let mut total = 0;
        for price in prices {
            let key = (text(&price["bookmaker"]), text(&price["market"]), text(&price["outcome"]));
            let number = |name: &str| price[name]["price"].as_f64().unwrap();
            let changes = price["changes"].as_u64().unwrap();
            let said = (number("opening"), number("closing"), number("lowest"), number("highest"), changes);
            assert_eq!(said, did(&by_boards[&key]), "{id}: {price}");
            total += changes;
        }
        assert_eq!(of_uk["price_changes"], total);
        // Of one market, and of a time.
        let path = format!("/api/history/events/{id}?region=uk&market=m1&to={}", recorded.boards[100].0);
        let some = recorded.get(&path).await;
        for price in some["regions"][0]["prices"].as_array().unwrap() {
            assert_eq!(price["market"], "m1");
            assert!(text(&price["closing"]["at"]).parse::<Timestamp>().unwrap() <= recorded.boards[100].0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_charts_end_with_the_consensus_of_their_end() {
    let recorded = Recorded::new().await;
    let (from, to) = (recorded.boards[60].0, recorded.boards[160].0);
    let ids: Vec<String> = recorded.boards[160].1.keys().map(ToString::to_string).collect();
    let events: String = ids.iter().map(|id| format!("&event={id}")).collect();
    let path = format!("/api/history/sparklines?region=uk&market=m0&from={from}&to={to}{events}");
    let lines = recorded.get(&path).await;
    let times: Vec<i64> = lines["times"].as_array().unwrap().iter().map(|it| it.as_i64().unwrap()).collect();
    assert_eq!((times.len(), times[0], times[39]), (40, from.as_millis(), to.as_millis()));
    let mut compared = 0;
    for event in lines["events"].as_array().unwrap() {
        let id = text(&event["id"]);
        for (place, time) in [(0, from), (20, Timestamp::from_millis(times[20])), (39, to)] {
            let then = recorded.probabilities(&id, &time.to_string()).await;
            let on_board = |time: Timestamp| {
                recorded
                    .boards
                    .iter()
                    .rfind(|(at, _)| *at <= time)
                    .unwrap()
                    .1
                    .contains_key(&id.parse::<odds::EventId>().unwrap())
            };
            for outcome in event["outcomes"].as_array().unwrap() {
                let said = outcome["probabilities"][place].as_f64();
                if !on_board(time) {
                    assert_eq!(said, None, "{id} at {time}");
                } else if let Some(expected) = then.get(&("m0".to_owned(), text(&outcome["outcome"]))) {
                    compared += 1;
                    // Small charts have three digits.
                    let is_near = said.is_some_and(|said| (said - expected).abs() < 5.1e-4);
                    assert!(is_near, "{id} at {time}: {said:?} {expected}");
                }
            }
        }
    }
    assert!(compared > 20, "{compared}");
}

#[tokio::test(flavor = "multi_thread")]
async fn movers_have_the_consensus_of_both_times() {
    let recorded = Recorded::new().await;
    let movers = recorded.get("/api/movers?region=uk&minutes=60&min_bookmakers=1&limit=200").await;
    let (from, to) = (text(&movers["from"]), text(&movers["to"]));
    assert_eq!(to, recorded.boards.last().unwrap().0.to_string());
    let all = movers["movers"].as_array().unwrap();
    assert!(!all.is_empty());
    let changes: Vec<f64> = all.iter().map(|mover| mover["change"].as_f64().unwrap().abs()).collect();
    assert!(changes.is_sorted_by(|a, b| a >= b), "{changes:?}");
    for mover in all {
        let id = text(&mover["event"]["id"]);
        let key = (text(&mover["market"]), text(&mover["outcome"]));
        for (time, name) in [(&from, "first"), (&to, "last")] {
            let expected = recorded.probabilities(&id, time).await[&key];
            assert!(is_near(mover[name].as_f64().unwrap(), expected), "{id} {key:?} at {time}");
        }
        assert!(mover["moved_with"].as_u64() <= mover["bookmakers"].as_u64());
    }
    let few = recorded.get("/api/movers?region=uk&minutes=60&market=m0&bookmaker=b0&min_bookmakers=1&limit=3").await;
    assert!(few["movers"].as_array().unwrap().len() <= 3);
    for mover in few["movers"].as_array().unwrap() {
        assert_eq!((&mover["market"], &mover["bookmakers"]), (&json!("m0"), &json!(1)));
    }
    // Nothing is recorded of the time before: they begin with what is.
    let all = recorded.get("/api/movers?region=uk&minutes=300").await;
    assert_eq!(text(&all["from"]), recorded.boards[0].0.to_string());
    let nothing = get(&recorded.gateway, "/api/movers?region=au").await;
    assert_eq!((nothing.status, nothing.json()["error"]["code"].clone()), (409, json!("not_recorded")));
}
