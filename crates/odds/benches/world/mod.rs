//! Events with twenty bookmakers and three markets each, for benchmarks.

use odds::{Board, Decimal, Details, EventId, Image, Market, Outcome, Outcomes, Quotes, StepId, Term, Timestamp};

pub const BOOKMAKERS: usize = 20;
pub const MARKETS: [&str; 3] = ["h2h", "spreads", "totals"];

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + seconds * 1000)
}

fn price(seed: usize) -> Decimal {
    format!("{}.{:02}", 1 + seed % 7, 1 + seed % 99).parse().unwrap()
}

fn outcome(name: &str, seed: usize, point: Option<&str>) -> Outcome {
    Outcome {
        name: name.into(),
        price: price(seed),
        point: point.map(|point| point.parse().unwrap()),
        description: None,
    }
}

/// An event with all its quotes; `version` changes the prices of a third of the bookmakers.
pub fn image(event: usize, version: usize) -> (EventId, Image) {
    let (home, away) = (format!("Home Town {event} United"), format!("Visitors of {event}"));
    let mut quotes = Quotes::new();
    for bookmaker in 0..BOOKMAKERS {
        let moved = if bookmaker % 3 == version % 3 { version } else { 0 };
        for (n, market) in MARKETS.iter().enumerate() {
            let seed = event * 31 + bookmaker * 7 + n * 3 + moved;
            let outcomes = match n {
                0 => vec![outcome(&home, seed, None), outcome("Draw", seed + 1, None), outcome(&away, seed + 2, None)],
                1 => vec![outcome(&home, seed, Some("-1.5")), outcome(&away, seed + 2, Some("1.5"))],
                _ => vec![outcome("Over", seed, Some("2.5")), outcome("Under", seed + 2, Some("2.5"))],
            };
            let quote = Market { last_update: at(moved as i64), outcomes: Outcomes::new(outcomes) };
            quotes.insert((format!("bookmaker_{bookmaker}").parse().unwrap(), market.parse().unwrap()), quote);
        }
    }
    let details = Details {
        sport_key: format!("soccer_league_{}", event % 12).parse().unwrap(),
        sport_title: format!("League {}", event % 12),
        commence_time: at(3_600),
        home_team: Some(home),
        away_team: Some(away),
    };
    (format!("{event:032x}").parse().unwrap(), Image { polled_at: at(version as i64), details, quotes })
}

pub fn step(number: u64) -> StepId {
    StepId::new(Term::new(1, 1), number)
}

pub fn board(events: usize) -> Board {
    let mut board = Board::default();
    for event in 0..events {
        let (id, image) = image(event, 0);
        board.set(&id, &image);
    }
    board.remember(step(1));
    board
}
