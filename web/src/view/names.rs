//! Display names of markets, sports and bookmakers.

use std::collections::BTreeMap;

/// Returns a market's display name.
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

/// Turns `some_key` into a title, for a sport or market without one.
pub(crate) fn pretty(key: &str) -> String {
    let words = key.split('_').filter(|word| !word.is_empty()).map(|word| {
        let is_region = ["us", "uk", "eu", "au", "nfl", "nba", "nhl", "mlb", "epl", "mma", "wnba"].contains(&word);
        let mut word = word.to_owned();
        let letters = if is_region { word.len() } else { 1 };
        if let Some(first) = word.get_mut(..letters) {
            first.make_ascii_uppercase();
        }
        word
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Returns a bookmaker's display name: its key until the upstream provides a name. If a brand has the same name in
/// several countries, the last word of the key is added.
pub(crate) fn told_apart(names: &BTreeMap<String, String>, key: &str) -> String {
    let Some(name) = names.get(key) else { return key.to_owned() };
    let is_shared = names.iter().any(|(other, of_other)| other != key && of_other == name);
    match key.split('_').skip(1).last() {
        Some(word) if is_shared => [name.clone(), pretty(word)].join(" "),
        _ => name.clone(),
    }
}

/// Returns a text for searching: without case and accents.
#[cfg(target_arch = "wasm32")]
pub(crate) fn folded(text: &str) -> String {
    // The browser has the Unicode tables. Including them would add a tenth to the page's size.
    let text: String = js_sys::JsString::from(text).normalize("NFD").to_lower_case().into();
    text.chars().filter(|letter| !ACCENTS.contains(letter)).collect()
}

#[cfg(target_arch = "wasm32")]
const ACCENTS: std::ops::RangeInclusive<char> = '\u{300}'..='\u{36f}';

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn folded(text: &str) -> String {
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bookmakers_of_one_name_are_told_apart() {
        let names: BTreeMap<String, String> = [
            ("betfair_ex_eu", "Betfair"),
            ("betfair_ex_uk", "Betfair"),
            ("unibet", "Unibet"),
            ("unibet_uk", "Unibet"),
            ("williamhill_us", "Caesars"),
        ]
        .map(|(key, name)| (key.to_owned(), name.to_owned()))
        .into();
        let shown: Vec<String> = names.keys().map(|key| told_apart(&names, key)).collect();
        assert_eq!(shown, ["Betfair EU", "Betfair UK", "Unibet", "Unibet UK", "Caesars"]);
        assert_eq!(told_apart(&names, "new_one"), "new_one");
    }

    #[test]
    fn keys_become_titles() {
        assert_eq!(pretty("soccer_epl"), "Soccer EPL");
        assert_eq!(market_title("h2h"), "Winner");
        assert_eq!(market_title("player_points"), "Player Points");
    }
}
