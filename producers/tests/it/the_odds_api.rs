use std::time::Duration;

use odds::Timestamp;
use producers::{Answer, Level, OddsQuery, RetryAfter, Source, SourceError};

use crate::upstream::{KEY, Upstream, texts};

fn query() -> OddsQuery {
    OddsQuery {
        sport: "soccer_epl".parse().unwrap(),
        region: "uk".parse().unwrap(),
        markets: vec!["h2h".parse().unwrap(), "totals".parse().unwrap()],
        now: "2026-11-21T12:00:00Z".parse().unwrap(),
    }
}

async fn ask(body: &str) -> Result<Answer, SourceError> {
    let upstream = Upstream::start().await;
    upstream.answers(200, &[], body);
    upstream.client().odds(query()).await
}

#[tokio::test]
async fn the_request_is_as_documented() {
    let upstream = Upstream::start().await;
    upstream.client().odds(query()).await.unwrap();
    let (uri, headers) = upstream.asked().remove(0);
    assert!(uri.starts_with("/v4/sports/soccer_epl/odds?"), "{uri}");
    for part in ["regions=uk", "markets=h2h%2Ctotals", "oddsFormat=decimal", "dateFormat=iso", &format!("apiKey={KEY}")]
    {
        assert!(uri.contains(part), "{part} in {uri}");
    }
    assert!(headers["accept-encoding"].to_str().unwrap().contains("gzip"));
}

#[tokio::test]
async fn every_quirk_of_an_answer_is_read() {
    let answer = ask(r#"[{"id":"e1","sport_key":"soccer_epl","sport_title":"EPL","commence_time":"2026-11-21T15:00:00Z",
        "home_team":null,"away_team":null,"rotation":7,"bookmakers":[
          {"key":"a","title":"Betfair","last_update":"2026-11-21T11:58:00Z","link":null,"markets":[
            {"key":"h2h","outcomes":[{"name":"X","price":2,"sid":"1"},{"name":"Y","price":1.90}]},
            {"key":"totals","last_update":"2026-11-21T11:59:30Z","outcomes":[
              {"name":"Over","price":1.5,"point":2.5},{"name":"Over","price":2.5,"point":3.5},
              {"name":"Under","price":2.5,"point":2.5},{"name":"Under","price":1.5,"point":3.5}]}]},
          {"key":"b","title":"Betfair","markets":[{"key":"h2h","outcomes":[{"name":"X","price":100,"description":"d"}]}]},
          {"key":"c","title":"None","markets":[{"key":"h2h","outcomes":[]}]}]}]"#)
    .await
    .unwrap();
    assert_eq!(
        texts(&answer),
        [
            r#"e1 a h2h 2026-11-21T11:58:00Z [{"name":"X","price":2},{"name":"Y","price":1.9}]"#,
            r#"e1 a totals 2026-11-21T11:59:30Z [{"name":"Over","price":1.5,"point":2.5},{"name":"Over","price":2.5,"point":3.5},{"name":"Under","price":2.5,"point":2.5},{"name":"Under","price":1.5,"point":3.5}]"#,
            r#"e1 b h2h 2026-11-21T12:00:00Z [{"name":"X","price":100,"description":"d"}]"#,
        ]
    );
    let (_, image) = &answer.events[0];
    assert_eq!((&image.details.home_team, &image.details.away_team), (&None, &None));
    let newest: Timestamp = "2026-11-21T11:59:30Z".parse().unwrap();
    assert_eq!(answer.bookmakers.get("a"), Some(&newest));
    assert_eq!(answer.bookmakers.get("b"), None, "the bookmaker has no time");
}

#[tokio::test]
async fn an_event_that_cannot_be_read_does_not_take_the_others_along() {
    let good = r#"{"id":"good","sport_key":"s","commence_time":"2026-11-21T15:00:00Z","bookmakers":[]}"#;
    let bad = r#"{"id":"bad","sport_key":"s","commence_time":"tomorrow","bookmakers":[]}"#;
    let nameless = r#"{"sport_key":"s"}"#;
    let answer = ask(&format!("[{bad},{good},{nameless},7]")).await.unwrap();
    assert_eq!(answer.events.len(), 1);
    assert_eq!(answer.events[0].0.as_str(), "good");
    assert_eq!(answer.incomplete[0].id.as_str(), "bad", "its prices can still be used");
    assert_eq!(answer.unreadable.count(Level::Event), 2);
    assert_eq!(answer.unreadable.count(Level::Details), 1);
}

/// Returns an event whose bookmaker `a` has these outcomes, and whose bookmaker `b` is valid.
fn with_outcomes(outcomes: &str) -> String {
    format!(
        r#"[{{"id":"e","sport_key":"s","commence_time":"2026-11-21T15:00:00Z","bookmakers":[
            {{"key":"a","title":"Aces","markets":[{{"key":"h2h","outcomes":[{outcomes}]}}]}},
            {{"key":"b","title":"Bets","markets":[{{"key":"h2h","outcomes":[{{"name":"X","price":3}}]}}]}}]}}]"#
    )
}

#[tokio::test]
async fn a_price_that_cannot_be_is_left_out_and_nothing_else() {
    for bad in [r#"null"#, r#""1.9""#, "0", "1", "-2", "-110", "1e15", "[]", "{}"] {
        let outcomes = format!(r#"{{"name":"X","price":{bad}}},{{"name":"Y","price":1.5}}"#);
        let answer = ask(&with_outcomes(&outcomes)).await.unwrap();
        let expected = [
            r#"e a h2h 2026-11-21T12:00:00Z [{"name":"Y","price":1.5}]"#,
            r#"e b h2h 2026-11-21T12:00:00Z [{"name":"X","price":3}]"#,
        ];
        assert_eq!(texts(&answer), expected, "{bad}");
        assert_eq!((answer.unreadable.count(Level::Outcome), answer.unreadable.total()), (1, 1), "{bad}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_left_out_at_its_level() {
    let good = r#"{"key":"good","markets":[{"key":"h2h","outcomes":[{"name":"X","price":3}]}]}"#;
    for (bad, level) in [
        ("7", Level::Bookmaker),
        (r#"{"title":"nameless"}"#, Level::Bookmaker),
        (r#"{"key":"k","markets":7}"#, Level::Bookmaker),
        (r#"{"key":"k","markets":[7]}"#, Level::Market),
        (r#"{"key":"k","markets":[{"key":"h2h","outcomes":{}}]}"#, Level::Market),
        (r#"{"key":"k","markets":[{"key":"h2h","outcomes":[{"price":2}]}]}"#, Level::Outcome),
    ] {
        let answer = ask(&format!(
            r#"[{{"id":"e","sport_key":"s","commence_time":"2026-11-21T15:00:00Z","bookmakers":[{bad},{good}]}}]"#
        ))
        .await
        .unwrap();
        assert_eq!(texts(&answer), [r#"e good h2h 2026-11-21T12:00:00Z [{"name":"X","price":3}]"#], "{bad}");
        assert_eq!((answer.unreadable.count(level), answer.unreadable.total()), (1, 1), "{bad}");
    }
}

#[tokio::test]
async fn american_odds_are_no_decimal_odds() {
    // In one bookmaker's market. +130 alone could be a decimal price.
    let answer = ask(&with_outcomes(r#"{"name":"X","price":-150},{"name":"Y","price":130}"#)).await.unwrap();
    assert_eq!(texts(&answer), [r#"e b h2h 2026-11-21T12:00:00Z [{"name":"X","price":3}]"#]);
    assert_eq!(answer.unreadable.count(Level::Market), 1);
    // In a whole answer.
    for prices in [["-150", "130"], ["110", "120"], ["0", "1e15"]] {
        let body =
            with_outcomes(&format!(r#"{{"name":"X","price":{}}},{{"name":"Y","price":{}}}"#, prices[0], prices[1]));
        let error = ask(&body.replace(r#""price":3"#, r#""price":-120"#)).await.unwrap_err();
        assert!(matches!(&error, SourceError::WrongFormat { cost, .. } if *cost > 1.0), "{error:?}");
    }
}

#[tokio::test]
async fn bookmakers_are_called_as_upstream_calls_them() {
    let answer = ask(&with_outcomes("")).await.unwrap();
    let name = |key: &str| answer.bookmaker_names.get(key).map(String::as_str);
    assert_eq!((name("a"), name("b"), name("c")), (Some("Aces"), Some("Bets"), None));
}

#[tokio::test]
async fn the_cost_of_a_call_is_the_reported_one_or_the_highest_possible() {
    let upstream = Upstream::start().await;
    let full = with_outcomes("");
    for (header, body, cost) in [
        (None, &*full, 2.0),
        (None, "[]", 0.0),
        (Some("1"), &full, 1.0),
        (Some("1e9"), &full, 2.0),
        (Some("NaN"), &full, 2.0),
    ] {
        let headers: Vec<_> = header.map(|cost| ("x-requests-last", cost)).into_iter().collect();
        upstream.answers(200, &headers, body);
        assert_eq!(upstream.client().odds(query()).await.unwrap().cost, cost, "{header:?}");
    }
    upstream.answers(200, &[], "<html>");
    assert_eq!(upstream.client().odds(query()).await.unwrap_err().cost(), 2.0, "the call may still have cost credits");
    upstream.answers(503, &[], "");
    assert_eq!(upstream.client().odds(query()).await.unwrap_err().cost(), 0.0);
}

#[tokio::test]
async fn every_form_of_retry_after_is_understood() {
    let upstream = Upstream::start().await;
    let date = "2026-11-21T12:00:00Z".parse().unwrap();
    for (text, expected) in [
        ("7", Some(RetryAfter::In(Duration::from_secs(7)))),
        ("99999999999999999999999", Some(RetryAfter::In(Duration::from_secs(u64::MAX)))),
        ("Sat, 21 Nov 2026 12:00:00 GMT", Some(RetryAfter::At(date))),
        ("-5", None),
        ("soon", None),
    ] {
        upstream.answers(429, &[("retry-after", text)], "");
        let error = upstream.client().odds(query()).await.unwrap_err();
        assert_eq!(error, SourceError::TooFast { retry_after: expected, cost: 0.0 }, "{text}");
        upstream.answers(503, &[("retry-after", text)], "");
        let error = upstream.client().odds(query()).await.unwrap_err();
        assert!(matches!(error, SourceError::Outage { retry_after, .. } if retry_after == expected), "{text}");
    }
}

#[tokio::test]
async fn no_reason_has_html_in_it() {
    let upstream = Upstream::start().await;
    let html = "<html><script>alert(1)</script></html>";
    let json = format!(r#"{{"message":"{html}","error_code":"<b>"}}"#);
    for status in [200, 400, 401, 403, 404, 422, 429, 500, 502, 503] {
        for body in [html, &json] {
            upstream.answers(status, &[("content-type", "text/html; <b>")], body);
            let reason = upstream.client().odds(query()).await.unwrap_err().to_string();
            assert!(!reason.contains(['<', '>']), "{status}: {reason}");
        }
    }
}

#[tokio::test]
async fn credits_are_signed_decimals_that_may_be_missing() {
    let upstream = Upstream::start().await;
    upstream.answers(200, &[("x-requests-remaining", "-60"), ("x-requests-used", "12.0")], "[]");
    let credits = upstream.client().odds(query()).await.unwrap().credits;
    assert_eq!((credits.remaining, credits.used), (Some(-60.0), Some(12.0)));
    upstream.answers(200, &[("x-requests-remaining", "NaN")], "[]");
    let credits = upstream.client().odds(query()).await.unwrap().credits;
    assert_eq!((credits.remaining, credits.used), (None, None));
}

#[tokio::test]
async fn each_error_is_distinguished_from_the_others() {
    let upstream = Upstream::start().await;
    let error = |code: &str| format!(r#"{{"message":"because","error_code":"{code}","details_url":"u"}}"#);
    let refused = |code: &str| SourceError::Refused { code: code.into(), message: "because".into(), cost: 0.0 };
    let bad_key = |code: &str| SourceError::BadKey { code: code.into(), message: "because".into() };
    for (status, body, expected) in [
        (401, error("MISSING_KEY"), bad_key("MISSING_KEY")),
        (401, error("INVALID_KEY"), bad_key("INVALID_KEY")),
        (401, error("DEACTIVATED_KEY"), bad_key("DEACTIVATED_KEY")),
        (404, error("UNKNOWN_SPORT"), refused("UNKNOWN_SPORT")),
        (422, error("INVALID_MARKET"), refused("INVALID_MARKET")),
        (429, error("EXCEEDED_FREQ_LIMIT"), SourceError::TooFast { retry_after: None, cost: 0.0 }),
    ] {
        upstream.answers(status, &[], &body);
        assert_eq!(upstream.client().odds(query()).await.unwrap_err(), expected, "{status} {body}");
    }
    upstream.answers(429, &[("retry-after", "7")], "");
    let error_after = upstream.client().odds(query()).await.unwrap_err();
    assert_eq!(
        error_after,
        SourceError::TooFast { retry_after: Some(RetryAfter::In(Duration::from_secs(7))), cost: 0.0 }
    );
    upstream.answers(401, &[("x-requests-remaining", "0")], &error("OUT_OF_USAGE_CREDITS"));
    let out = upstream.client().odds(query()).await.unwrap_err();
    assert!(matches!(out, SourceError::OutOfCredits { credits, .. } if credits.remaining == Some(0.0)), "{out:?}");
}

#[tokio::test]
async fn what_may_pass_is_an_outage() {
    let upstream = Upstream::start().await;
    for (status, body) in [
        (500, "oops"),
        (503, ""),
        (200, "<html>We'll be right back</html>"),
        (200, r#"{"not":"a list"}"#),
        (200, r#"[{"id":"#),
        // A refusal by a proxy, not by the API.
        (401, "<html>Proxy authentication</html>"),
    ] {
        upstream.answers(status, &[], body);
        let error = upstream.client().odds(query()).await.unwrap_err();
        assert!(matches!(error, SourceError::Outage { .. }), "{status} {body}: {error:?}");
    }
    upstream.answers(200, &[], "[{},");
    upstream.cuts_off();
    let error = upstream.client().odds(query()).await.unwrap_err();
    assert!(matches!(error, SourceError::Outage { .. }), "cut off: {error:?}");
}

#[tokio::test]
async fn the_key_is_in_no_error() {
    let upstream = Upstream::start().await;
    let client = upstream.client();
    let echo = format!(r#"{{"message":"no such key: {KEY}","error_code":"INVALID_KEY"}}"#);
    let mut texts = vec![format!("{client:?}")];
    for (status, body) in [(401, echo.as_str()), (500, KEY), (200, KEY), (422, &echo.replace("INVALID_KEY", "X"))] {
        upstream.answers(status, &[], body);
        texts.push(format!("{:?}", client.odds(query()).await.unwrap_err()));
    }
    let unreachable =
        producers::TheOddsApi::new("t", "http://127.0.0.1:1".parse().unwrap(), producers::ApiKey::new(KEY.into()));
    texts.push(format!("{:?}", unreachable.unwrap().odds(query()).await.unwrap_err()));
    for text in texts {
        assert!(!text.contains(KEY), "{text}");
    }
}

#[tokio::test]
async fn sports_out_of_season_are_left_out() {
    let upstream = Upstream::start().await;
    let sports =
        r#"[{"key":"a","active":true,"has_outrights":true},{"key":"b","active":false},{"key":"c"},{"title":"?"}]"#;
    upstream.answers(200, &[("x-requests-remaining", "9")], sports);
    let list = upstream.client().sports().await.unwrap();
    assert_eq!(list.unreadable.count(Level::Sport), 1);
    let credits = list.credits;
    let sports: Vec<_> = list.sports.iter().map(|sport| (sport.key.as_str(), sport.outrights)).collect();
    assert_eq!(sports, [("a", true), ("c", false)]);
    assert_eq!(credits.remaining, Some(9.0));
}
