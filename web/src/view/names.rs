//! Names for keys.

/// What a market is called.
pub(crate) fn market_title(key: &str) -> String {
    match key {
        "h2h" => "Winner".into(),
        "h2h_lay" => "Winner, lay".into(),
        "spreads" => "Handicap".into(),
        "totals" => "Total".into(),
        "outrights" => "Outright".into(),
        "outrights_lay" => "Outright, lay".into(),
        other => pretty(other),
    }
}

/// What a bookmaker is called.
pub(crate) fn bookmaker_title(key: &str) -> String {
    pretty(key)
}

/// `some_key` as a title.
pub(crate) fn pretty(key: &str) -> String {
    let words = key.split('_').filter(|word| !word.is_empty()).map(|word| {
        let is_region =
            ["us", "uk", "eu", "au", "ex", "nfl", "nba", "nhl", "mlb", "epl", "mma", "wnba"].contains(&word);
        let mut letters = word.chars();
        match letters.next() {
            Some(_) if is_region => word.to_uppercase(),
            Some(first) => first.to_uppercase().chain(letters).collect(),
            None => String::new(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_titles() {
        assert_eq!(pretty("soccer_epl"), "Soccer EPL");
        assert_eq!(bookmaker_title("betfair_ex_uk"), "Betfair EX UK");
        assert_eq!(market_title("h2h"), "Winner");
        assert_eq!(market_title("player_points"), "Player Points");
    }
}
