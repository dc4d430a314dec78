use std::time::Duration;

use odds::{Region, Timestamp};
use producers::{
    ApiKey, OddsQuery, Source, SourceError, TheOddsApi,
    simulator::{Faults, Simulator, SimulatorSettings},
};
use serde_json::Value;
use tokio::net::TcpListener;

fn settings() -> SimulatorSettings {
    SimulatorSettings { seed: 7, speed: 1.0, credits: 100.0, requests_per_hour: 100.0, fault_rate: 0.0 }
}

fn noon() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

async fn serve(simulator: Simulator) -> String {
    service::install_tls_provider();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(simulator.serve(listener, std::future::pending()));
    url
}

async fn get(url: &str) -> (u16, Value) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

#[tokio::test]
async fn the_same_seed_and_time_give_the_same_answer() {
    let one = Simulator::new(&settings(), noon);
    let other = Simulator::new(&settings(), noon);
    for region in Region::ALL {
        assert_eq!(one.truth(region), other.truth(region));
    }
    let another = Simulator::new(&SimulatorSettings { seed: 8, ..settings() }, noon);
    assert_ne!(one.truth(Region::Us), another.truth(Region::Us));
}

#[tokio::test]
async fn it_looks_real() {
    let truth = Simulator::new(&settings(), noon).truth(Region::Uk);
    let events = truth["events"].as_array().unwrap();
    let markets = |event: &Value| -> Vec<String> {
        let all =
            event["bookmakers"].as_array().unwrap().iter().flat_map(|it| it["markets"].as_array().unwrap().clone());
        all.map(|market| market["key"].as_str().unwrap().to_owned()).collect()
    };
    for wanted in ["h2h", "h2h_lay", "spreads", "totals", "outrights"] {
        assert!(events.iter().any(|event| markets(event).iter().any(|key| key == wanted)), "{wanted}");
    }
    let most = events.iter().map(|event| event["bookmakers"].as_array().unwrap().len()).max().unwrap();
    assert!(most >= 8, "{most} bookmakers");
    let started =
        events.iter().filter(|event| event["commence_time"].as_str().unwrap() < "2026-11-21T12:00:00Z").count();
    assert!(started > 0 && started < events.len());
    let alternate = events.iter().flat_map(|event| event["bookmakers"].as_array().unwrap()).any(|bookmaker| {
        let spreads = bookmaker["markets"].as_array().unwrap().iter().find(|market| market["key"] == "spreads");
        spreads.is_some_and(|market| market["outcomes"].as_array().unwrap().len() > 2)
    });
    assert!(alternate, "no bookmaker lists several lines");
    // Every price is above 1, and every book has a plausible margin.
    for event in events {
        for bookmaker in event["bookmakers"].as_array().unwrap() {
            for market in bookmaker["markets"].as_array().unwrap() {
                let prices = market["outcomes"].as_array().unwrap().iter().map(|it| it["price"].as_f64().unwrap());
                assert!(prices.clone().all(|price| price > 1.0), "{market}");
                if market["key"] == "h2h" {
                    let book: f64 = prices.map(|price| 1.0 / price).sum();
                    assert!((0.97..1.25).contains(&book), "{book} {market}");
                }
            }
        }
    }
}

#[tokio::test]
async fn between_polls_stamps_move_and_few_prices_do() {
    fn first() -> Timestamp {
        noon()
    }
    fn later() -> Timestamp {
        noon().plus_millis(5 * 60_000)
    }
    let quotes = |truth: &Value| -> Vec<(String, String, String)> {
        let mut quotes = Vec::new();
        for event in truth["events"].as_array().unwrap() {
            for bookmaker in event["bookmakers"].as_array().unwrap() {
                for market in bookmaker["markets"].as_array().unwrap() {
                    let key = format!("{} {} {}", event["id"], bookmaker["key"], market["key"]);
                    quotes.push((key, market["last_update"].to_string(), market["outcomes"].to_string()));
                }
            }
        }
        quotes.sort();
        quotes
    };
    let before = quotes(&Simulator::new(&settings(), first).truth(Region::Us));
    let after = quotes(&Simulator::new(&settings(), later).truth(Region::Us));
    let both: Vec<_> =
        before.iter().filter_map(|quote| Some((quote, after.iter().find(|later| later.0 == quote.0)?))).collect();
    let stamped = both.iter().filter(|(a, b)| a.1 != b.1).count();
    let moved = both.iter().filter(|(a, b)| a.2 != b.2).count();
    assert_eq!(stamped, both.len(), "every time stamp changes");
    assert!(moved > 0 && moved * 4 < both.len(), "{moved} of {} prices moved", both.len());
}

#[tokio::test]
async fn parameters_are_checked_and_counted_as_upstream_does() {
    let simulator = Simulator::new(&settings(), noon);
    let url = serve(simulator).await;
    for (path, status, code) in [
        ("/v4/sports/soccer_epl/odds?regions=uk", 401, "MISSING_KEY"),
        ("/v4/sports/nothing/odds?apiKey=k&regions=uk", 404, "UNKNOWN_SPORT"),
        ("/v4/sports/soccer_epl/odds?apiKey=k", 422, "MISSING_REGION"),
        ("/v4/sports/soccer_epl/odds?apiKey=k&regions=xx", 422, "INVALID_REGION"),
        ("/v4/sports/soccer_epl/odds?apiKey=k&regions=uk&markets=zz", 422, "INVALID_MARKET"),
        ("/v4/sports/soccer_epl/odds?apiKey=k&regions=uk&oddsFormat=roman", 422, "INVALID_ODDS_FORMAT"),
    ] {
        let (got, body) = get(&format!("{url}{path}")).await;
        assert_eq!((got, body["error_code"].as_str()), (status, Some(code)), "{path}");
    }
    let answer =
        reqwest::get(format!("{url}/v4/sports/soccer_epl/odds?apiKey=k&regions=uk,eu&markets=h2h,totals")).await;
    let headers = answer.unwrap().headers().clone();
    assert_eq!(headers["x-requests-last"], "4.0");
    assert_eq!(headers["x-requests-remaining"], "96.0");
    let american =
        get(&format!("{url}/v4/sports/soccer_epl/odds?apiKey=k&regions=uk&oddsFormat=american&dateFormat=unix"))
            .await
            .1;
    let market = &american[0]["bookmakers"][0]["markets"][0];
    assert!(market["outcomes"][0]["price"].as_i64().unwrap().abs() >= 100, "{market}");
    assert!(american[0]["commence_time"].is_i64());
    let id = american[1]["id"].as_str().unwrap();
    let narrowed = format!("{url}/v4/sports/soccer_epl/odds?apiKey=k&regions=uk&eventIds={id}");
    assert_eq!(get(&narrowed).await.1.as_array().unwrap().len(), 1);
    assert!(get(&format!("{url}/v4/sports/soccer_epl/scores?apiKey=k")).await.1.is_array());
}

#[tokio::test]
async fn it_fails_on_demand() {
    let simulator = Simulator::new(&settings(), noon);
    let url = serve(simulator.clone()).await;
    let client = TheOddsApi::new("t", url.parse().unwrap(), ApiKey::new("k".into())).unwrap();
    let query = || OddsQuery {
        sport: "soccer_epl".parse().unwrap(),
        region: Region::Uk,
        markets: vec!["h2h".parse().unwrap()],
        now: noon(),
    };
    let order = |json: Value| {
        let faults: Faults = serde_json::from_value(json).unwrap();
        simulator.set_faults(faults);
    };
    order(serde_json::json!({ "next": ["too_fast", "server_error", "cut_off", "garbage", "empty"] }));
    assert!(matches!(client.odds(query()).await, Err(SourceError::TooFast { .. })));
    for _ in 0..3 {
        assert!(matches!(client.odds(query()).await, Err(SourceError::Outage { .. })));
    }
    assert!(client.odds(query()).await.unwrap().events.is_empty());
    assert!(!client.odds(query()).await.unwrap().events.is_empty());
    // After the credits are used up, the list of sports is still available.
    let spent = async {
        loop {
            if let Err(error) = client.odds(query()).await {
                break error;
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(30), spent).await.unwrap();
    assert!(matches!(error, SourceError::OutOfCredits { .. }), "{error:?}");
    assert!(!client.sports().await.unwrap().sports.is_empty());
}
