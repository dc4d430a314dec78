//! Tests of the opportunities: they are made of live prices only.

use odds::{FeedState, Region};
use serde_json::{Value, json};
use testkit::author::image_with_price;

use crate::{
    author::Author,
    past::get,
    stage::{Running, Stage, until},
};

/// The answer at a path, once it says this about its region.
async fn once(gateway: &Running, path: &str, state: &str) -> Value {
    let mut answer = Value::Null;
    until("the region is in this state", async || {
        answer = get(gateway, path).await.json();
        answer["regions"][0]["state"] == state
    })
    .await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn only_live_prices_are_worth_a_bet() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("a", &[]).await;
    let arbitrages = "/api/opportunities/arbitrages?region=uk";
    let values = "/api/opportunities/values?region=uk&min_bookmakers=1&min_edge=0";
    let nothing = get(&gateway, arbitrages).await.json();
    assert_eq!(nothing["regions"], json!([{ "region": "uk", "state": "down", "cursor": null }]));
    let mut author = Author::start(&stage.kafka(), Region::Uk).await;
    author.step(vec![("e1".parse().unwrap(), Some(image_with_price(230)))]).await;

    let answer = once(&gateway, arbitrages, "live").await;
    let found = &answer["arbitrages"][0];
    // 1 / (1 / 2.30 + 1 / 1.80) = 1.0098.
    assert!((found["rate"].as_f64().unwrap() - 0.009_756).abs() < 1e-6, "{found}");
    let legs: Vec<(&Value, &Value, &Value)> =
        found["legs"].as_array().unwrap().iter().map(|leg| (&leg["outcome"], &leg["stake"], &leg["region"])).collect();
    assert_eq!(legs, [(&json!("A"), &json!(44.0), &json!("uk")), (&json!("B"), &json!(56.0), &json!("uk"))]);
    // 56 on B pay 100.80, and 44 on A pay 101.20.
    assert!((found["win"].as_f64().unwrap() - 0.8).abs() < 1e-6, "{found}");
    let value = &once(&gateway, values, "live").await["values"][0];
    assert_eq!((&value["outcome"], &value["bookmaker"]), (&json!("A"), &json!("b0")));

    for narrower in ["&bookmaker=b1", "&sport=tennis", "&market=totals", "&event=e2", "&total=1&round_to=1"] {
        let answer = get(&gateway, &format!("{arbitrages}{narrower}")).await;
        assert_eq!((answer.status, &answer.json()["arbitrages"]), (200, &json!([])), "{narrower}");
    }
    let unknown = get(&gateway, "/api/opportunities/values?region=uk&total=5").await;
    assert_eq!((unknown.status, unknown.json()["error"]["code"].clone()), (422, json!("invalid")));

    author.feed = FeedState::Stale;
    author.step(Vec::new()).await;
    assert_eq!(once(&gateway, arbitrages, "stale").await["arbitrages"], json!([]));
    assert_eq!(once(&gateway, values, "stale").await["values"], json!([]));
}
