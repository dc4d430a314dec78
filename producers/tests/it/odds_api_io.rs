//! The client of odds-api.io, against a server that sends set responses and against the simulator.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use odds::{Region, SportKey, Timestamp};
use producers::{
    Answer, Api, ApiKey, Level, OddsApiIo, OddsApiIoSettings, OddsQuery, RetryAfter, Source, SourceError,
    simulator::{Shown, Simulator, SimulatorSettings},
};
use serde_json::json;
use tokio::net::TcpListener;

use crate::upstream::{KEY, Upstream, texts};

const MINUTE: i64 = 60_000;

fn noon() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn epl() -> SportKey {
    "soccer_epl".parse().unwrap()
}

fn settings(url: &str, bookmakers: &[&str], clock: fn() -> Timestamp) -> OddsApiIoSettings {
    service::install_tls_provider();
    OddsApiIoSettings {
        name: "test".into(),
        base: url.parse().unwrap(),
        key: ApiKey::new(KEY.into()),
        bookmakers: bookmakers.iter().map(|name| (*name).to_owned()).collect(),
        sports: vec![epl()],
        markets: ["h2h", "spreads", "totals"].map(|key| key.parse().unwrap()).to_vec(),
        speed: 1.0,
        clock,
    }
}

fn query(now: Timestamp) -> OddsQuery {
    let markets = ["h2h", "spreads", "totals"].map(|key| key.parse().unwrap()).to_vec();
    OddsQuery { sport: epl(), region: Region::Uk, markets, now }
}

/// Lists a league's events and polls their odds, from a server that always answers this.
async fn ask(body: &str) -> Result<Answer, SourceError> {
    let upstream = Upstream::start().await;
    upstream.answers(200, &[], body);
    let source = OddsApiIo::new(settings(&upstream.url, &["Bet365", "Bet Victor"], noon)).unwrap();
    source.starts(&epl()).await?;
    source.odds(query(noon())).await
}

/// Returns an event with these markets of Bet365, and a market of Bet Victor that can be read.
fn event(markets: &str) -> String {
    format!(
        r#"[{{"id":7,"home":"Arsenal","away":"Leeds","date":"2026-11-21T15:00:00Z","status":"pending","new":1,
            "sport":{{"name":"Football","slug":"football"}},
            "league":{{"name":"England - Premier League","slug":"england-premier-league"}},
            "bookmakers":{{"Bet365":{markets},"Unasked":[{{"name":"ML","odds":[{{"home":"9"}}]}}],
                "Bet Victor":[{{"name":"Totals","odds":[{{"hdp":2.5,"over":"1.9","under":"1.95"}}]}}]}}}}]"#
    )
}

const VICTOR: &str = r#"7 bet_victor totals 2026-11-21T12:00:00Z [{"name":"Over","price":1.9,"point":2.5},{"name":"Under","price":1.95,"point":2.5}]"#;

#[tokio::test]
async fn the_requests_are_as_documented() {
    let upstream = Upstream::start().await;
    upstream.answers(200, &[], &event("[]"));
    let source = OddsApiIo::new(settings(&upstream.url, &["Bet365", "Bet Victor"], noon)).unwrap();
    assert_eq!(source.sports().await.unwrap().sports[0].key, epl());
    source.starts(&epl()).await.unwrap();
    assert_eq!(source.cost(&epl(), &[]), 2.0);
    source.odds(query(noon())).await.unwrap();
    let asked: Vec<String> = upstream.asked().into_iter().map(|(uri, _)| uri).collect();
    let list = format!("/v3/events?sport=football&league=england-premier-league&status=pending%2Clive&apiKey={KEY}");
    let odds = format!("/v3/odds/multi?eventIds=7&bookmakers=Bet365%2CBet+Victor&apiKey={KEY}");
    assert_eq!(asked, ["/v3/sports", &list, &list, &odds]);
}

#[tokio::test]
async fn markets_and_bookmakers_have_our_names() {
    let answer = ask(&event(
        r#"[{"name":"ML","updatedAt":"2026-11-21T11:59:00.123Z","odds":[{"home":"2.50","draw":"3.4","away":2.9,"max":"10"}]},
            {"name":"Spread","updatedAt":"2026-11-21T12:30:00Z","odds":[{"hdp":-1.5,"home":"3.1","away":"1.35"},{"hdp":"0.25","home":"1.8","away":"2"}]},
            {"name":"Corners Totals","odds":[{"hdp":9.5,"over":"1.9","under":"1.9"}]}]"#,
    ))
    .await
    .unwrap();
    assert_eq!(
        texts(&answer),
        [
            r#"7 bet365 h2h 2026-11-21T11:59:00.123Z [{"name":"Arsenal","price":2.5},{"name":"Draw","price":3.4},{"name":"Leeds","price":2.9}]"#,
            r#"7 bet365 spreads 2026-11-21T12:00:00Z [{"name":"Arsenal","price":3.1,"point":-1.5},{"name":"Arsenal","price":1.8,"point":0.25},{"name":"Leeds","price":2,"point":-0.25},{"name":"Leeds","price":1.35,"point":1.5}]"#,
            VICTOR,
        ]
    );
    let details = &answer.events[0].1.details;
    assert_eq!((details.sport_key.as_str(), &*details.sport_title), ("soccer_epl", "England - Premier League"));
    assert_eq!((details.home_team.as_deref(), details.away_team.as_deref()), (Some("Arsenal"), Some("Leeds")));
    assert_eq!(answer.bookmaker_names["bet_victor"], "Bet Victor");
    assert_eq!(answer.unreadable.total(), 0);
}

#[tokio::test]
async fn what_cannot_be_read_is_left_out_at_its_level() {
    for (bad, level, count) in [
        ("7", Level::Bookmaker, 1),
        ("[7]", Level::Market, 1),
        (r#"[{"odds":[]}]"#, Level::Market, 1),
        (r#"[{"name":"ML","odds":7}]"#, Level::Market, 1),
        (r#"[{"name":"ML","odds":[{"home":"N/A","away":"1"}]}]"#, Level::Outcome, 2),
        (r#"[{"name":"Spread","odds":[{"home":"2","away":"2"}]}]"#, Level::Outcome, 1),
        (r#"[{"name":"Totals","odds":["7"]}]"#, Level::Outcome, 1),
    ] {
        let answer = ask(&event(bad)).await.unwrap();
        assert_eq!(texts(&answer), [VICTOR], "{bad}");
        assert_eq!((answer.unreadable.count(level), answer.unreadable.total()), (count, count), "{bad}");
    }
    let started = event("[]").replace("pending", "settled");
    assert!(matches!(ask(&started).await, Ok(answer) if answer.events.is_empty()), "an event that is over");
    let answer = ask(&event("[]").replace("2026-11-21T15:00:00Z", "soon")).await.unwrap();
    assert_eq!((answer.events.len(), answer.incomplete.len(), answer.unreadable.count(Level::Details)), (0, 1, 1));
    assert!(matches!(ask(r#"[{"home":"A"}]"#).await, Err(SourceError::WrongFormat { cost: 1.0, .. })));
}

#[tokio::test]
async fn each_error_is_distinguished_from_the_others() {
    let upstream = Upstream::start().await;
    let source = OddsApiIo::new(settings(&upstream.url, &["Bet365"], noon)).unwrap();
    let refused = |code: &str| SourceError::Refused { code: code.into(), message: "because".into(), cost: 1.0 };
    let body = r#"{"error":"because"}"#;
    for (status, expected) in [
        (400, refused("400")),
        (401, SourceError::BadKey { code: "401".into(), message: "because".into() }),
        (403, refused("403")),
        (404, refused("404")),
        (429, SourceError::TooFast { retry_after: None, cost: 1.0 }),
    ] {
        upstream.answers(status, &[], body);
        assert_eq!(source.starts(&epl()).await.unwrap_err(), expected);
    }
    for (status, body) in [(500, body), (401, "<html>Proxy</html>"), (403, "<html>Proxy</html>"), (200, "<html>")] {
        upstream.answers(status, &[], body);
        let error = source.starts(&epl()).await.unwrap_err();
        assert!(matches!(error, SourceError::Outage { cost: 1.0, .. }), "{status}: {error:?}");
        assert!(!error.to_string().contains('<'), "{error}");
    }
    upstream.answers(429, &[("retry-after", "7")], body);
    let retry_after = Some(RetryAfter::In(Duration::from_secs(7)));
    assert_eq!(source.starts(&epl()).await.unwrap_err(), SourceError::TooFast { retry_after, cost: 1.0 });
    upstream.answers(401, &[], &format!(r#"{{"error":"no such key: {KEY}"}}"#));
    assert!(!format!("{:?} {source:?}", source.starts(&epl()).await.unwrap_err()).contains(KEY));
}

#[tokio::test]
async fn requests_are_counted_until_upstream_renews_them() {
    static NOW: AtomicI64 = AtomicI64::new(0);
    fn clock() -> Timestamp {
        Timestamp::from_millis(NOW.load(Ordering::Relaxed))
    }
    NOW.store(noon().as_millis(), Ordering::Relaxed);
    let upstream = Upstream::start().await;
    let source = OddsApiIo::new(settings(&upstream.url, &["Bet365"], clock)).unwrap();
    assert_eq!(source.renewal(noon()), noon(), "nothing is known yet");
    let headers = |remaining| {
        [
            ("x-ratelimit-limit", "100"),
            ("x-ratelimit-remaining", remaining),
            ("x-ratelimit-reset", "2026-11-21T12:40:00Z"),
        ]
    };
    upstream.answers(200, &headers("60"), "[]");
    let asked = source.starts(&epl()).await.unwrap();
    assert_eq!((asked.cost, source.list_cost()), (1.0, 1.0));
    let credits = source.sports().await.unwrap().credits;
    assert_eq!((credits.remaining, credits.used), (Some(60.0), Some(40.0)));
    assert_eq!(source.renewal(noon()), noon().plus_millis(40 * MINUTE));
    upstream.answers(429, &headers("0"), r#"{"error":"rate limit exceeded"}"#);
    let error = source.starts(&epl()).await.unwrap_err();
    assert!(matches!(error, SourceError::OutOfCredits { credits, .. } if credits.remaining == Some(0.0)), "{error:?}");
    NOW.fetch_add(40 * MINUTE, Ordering::Relaxed);
    assert_eq!(source.sports().await.unwrap().credits.remaining, Some(100.0), "after the renewal");
    // Without a time of renewal, it is an hour away.
    upstream.answers(200, &headers("7")[..2], "[]");
    source.starts(&epl()).await.unwrap();
    assert_eq!(source.renewal(noon()), clock().plus_millis(60 * MINUTE));
}

#[tokio::test]
async fn a_list_that_is_empty_by_mistake_withdraws_nothing() {
    let upstream = Upstream::start().await;
    let source = OddsApiIo::new(settings(&upstream.url, &["Bet365", "Bet Victor"], noon)).unwrap();
    upstream.answers(200, &[], &event("[]"));
    source.starts(&epl()).await.unwrap();
    assert_eq!(source.odds(query(noon())).await.unwrap().events.len(), 1);
    // The leader doesn't believe an empty answer unless the next one is empty, too.
    upstream.answers(200, &[], "[]");
    assert!(source.odds(query(noon())).await.unwrap().events.is_empty());
    upstream.answers(200, &[], &event("[]"));
    assert!(matches!(source.odds(query(noon())).await, Err(SourceError::Outage { cost: 1.0, .. })));
    assert_eq!(source.odds(query(noon())).await.unwrap().events.len(), 1);
}

#[tokio::test]
async fn a_change_that_cannot_be_read_withdraws_the_price_before() {
    let upstream = Upstream::start().await;
    let readable = r#"[{"name":"ML","odds":[{"home":"2.5","away":"2.9"}]}]"#;
    for unreadable in [r#"[{"name":"ML","odds":7}]"#, r#"[{"name":"ML","odds":[{"home":"x","away":"y"}]}]"#, "7"] {
        let source = OddsApiIo::new(settings(&upstream.url, &["Bet365"], noon)).unwrap();
        upstream.answers(200, &[], &event(readable));
        source.starts(&epl()).await.unwrap();
        assert_eq!(texts(&source.odds(query(noon())).await.unwrap()).len(), 1);
        upstream.answers_at("/v3/odds/updated", &event(unreadable));
        let answer = source.odds(query(noon())).await.unwrap();
        assert_eq!((answer.cost, texts(&answer).len(), answer.unreadable.total() > 0), (1.0, 0, true), "{unreadable}");
    }
}

#[tokio::test]
async fn an_empty_answer_counts_when_it_is_repeated() {
    let upstream = Upstream::start().await;
    let source = OddsApiIo::new(settings(&upstream.url, &["Bet365", "Bet Victor"], noon)).unwrap();
    upstream.answers(200, &[], &event("[]"));
    source.starts(&epl()).await.unwrap();
    assert_eq!(source.odds(query(noon())).await.unwrap().events.len(), 1);
    upstream.answers_at("/v3/odds/multi", "[]");
    let error = source.odds(query(noon())).await.unwrap_err();
    assert!(matches!(error, SourceError::Outage { cost: 2.0, .. }), "{error:?}");
    assert!(source.odds(query(noon())).await.unwrap().events.is_empty());
}

#[test]
fn settings_that_make_no_sense_are_refused_with_their_name() {
    let error = |change: fn(&mut OddsApiIoSettings)| {
        let mut settings = settings("http://127.0.0.1:1", &["Bet365"], noon);
        change(&mut settings);
        OddsApiIo::new(settings).unwrap_err().to_string()
    };
    for (change, part) in [
        ((|it| it.bookmakers.clear()) as fn(&mut OddsApiIoSettings), "--bookmakers"),
        (|it| it.bookmakers = vec!["Bet Victor".into(), "Bet.Victor".into()], "the same key"),
        (|it| it.bookmakers = vec!["…".into()], "--bookmakers"),
        (|it| it.sports.clear(), "--sports"),
        (|it| it.sports = vec!["soccer_nowhere".parse().unwrap()], "soccer_nowhere"),
        (|it| it.sports.push("football:england-premier-league".parse().unwrap()), "the same league"),
        (|it| it.markets = vec!["outrights".parse().unwrap()], "--markets"),
        (|it| it.base = "data:x".parse().unwrap(), "path"),
    ] {
        assert!(error(change).contains(part), "{part}: {}", error(change));
    }
}

/// The clock of the simulated world, which the tests below move.
static WORLD: AtomicI64 = AtomicI64::new(0);

fn world_clock() -> Timestamp {
    Timestamp::from_millis(WORLD.load(Ordering::Relaxed))
}

/// A poll takes the changes of each bookmaker while that is cheaper, and has exactly what a whole answer would have,
/// except for what was withdrawn, until the next whole answer.
#[tokio::test]
async fn changes_are_added_to_whole_answers() {
    WORLD.store(noon().as_millis(), Ordering::Relaxed);
    let simulated = SimulatorSettings { seed: 7, speed: 1.0, credits: 0.0, requests_per_hour: 1e6, fault_rate: 0.0 };
    let simulator = Simulator::new(&simulated, world_clock);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(simulator.serve(listener, std::future::pending()));
    let names = ["Betway", "Coral"];
    let source = OddsApiIo::new(settings(&url, &names, world_clock)).unwrap();
    source.starts(&epl()).await.unwrap();
    let whole = source.cost(&epl(), &[]);
    assert!(whole > names.len() as f64, "a whole answer takes {whole} requests");
    assert_eq!(source.odds(query(noon())).await.unwrap().cost, whole);
    let (mut changed, mut last) = (0, Vec::new());
    for poll in 1..=60 {
        WORLD.fetch_add(40_000, Ordering::Relaxed);
        let answer = source.odds(query(world_clock())).await.unwrap();
        // A poll that is two minutes after a whole answer is whole.
        assert_eq!(answer.cost, if poll % 3 == 0 { source.cost(&epl(), &[]) } else { 2.0 }, "poll {poll}");
        let fresh = OddsApiIo::new(settings(&url, &names, world_clock)).unwrap();
        fresh.starts(&epl()).await.unwrap();
        let truth = fresh.odds(query(world_clock())).await.unwrap();
        for (id, image) in &truth.events {
            // An event that was offered or moved in between waits for a whole answer.
            let Some((_, mine)) = answer.events.iter().find(|(known, _)| known == id) else { continue };
            for (place, quote) in &image.quotes {
                let mine = mine.quotes.get(place).map(|mine| mine.outcomes.as_json());
                assert_eq!(mine, Some(quote.outcomes.as_json()), "poll {poll}: {id} {place:?}");
            }
        }
        let now = texts(&truth);
        changed += now.iter().filter(|text| !last.contains(*text)).count();
        last = now;
    }
    assert!(changed > 100, "only {changed} quotes changed");
}

#[tokio::test]
async fn the_simulator_answers_as_upstream_does() {
    let simulated = SimulatorSettings { seed: 7, speed: 1.0, credits: 0.0, requests_per_hour: 6.0, fault_rate: 0.0 };
    service::install_tls_provider();
    let simulator = Simulator::new(&simulated, noon);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v3", listener.local_addr().unwrap());
    tokio::spawn(simulator.clone().serve(listener, std::future::pending()));
    let get = async |path: &str| {
        let answer = reqwest::get(format!("{url}{path}")).await.unwrap();
        let remaining = answer.headers().get("x-ratelimit-remaining").map(|it| it.to_str().unwrap().to_owned());
        let status = answer.status().as_u16();
        (status, remaining, answer.json::<serde_json::Value>().await.unwrap())
    };
    assert_eq!(get("/sports").await.0, 200, "without a key");
    let refusal = get("/events?sport=football").await;
    assert_eq!((refusal.0, &refusal.2), (401, &json!({ "error": "missing API key" })));
    let (_, remaining, list) = get("/events?sport=football&league=england-premier-league&apiKey=k").await;
    assert_eq!(remaining.as_deref(), Some("5"));
    let id = list[0]["id"].as_u64().unwrap();
    let (_, _, odds) = get(&format!("/odds?eventId={id}&bookmakers=Betway,Coral&apiKey=k")).await;
    assert!(odds["bookmakers"]["Betway"][0]["odds"][0].is_object(), "{odds}");
    for (path, status) in [
        ("/odds/multi?eventIds=1,2,3,4,5,6,7,8,9,10,11&bookmakers=Betway&apiKey=k", 400),
        ("/odds/multi?eventIds=1&bookmakers=Nobody&apiKey=k", 400),
        ("/odds/updated?sport=football&bookmaker=Betway&markets=ML&since=1&apiKey=k", 400),
        ("/events?sport=chess&apiKey=k", 404),
        ("/sports", 200),
        ("/events?sport=football&apiKey=k", 429),
        ("/events?sport=football&apiKey=another", 200),
    ] {
        assert_eq!(get(path).await.0, status, "{path}");
    }
    let truth = Shown::of_truth(&simulator.truth_of(Api::OddsApiIo, Region::Uk)).unwrap();
    assert_ne!(truth, Shown::of_truth(&simulator.truth(Region::Uk)).unwrap());
}
