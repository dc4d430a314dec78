//! Names for keys.

use std::collections::BTreeMap;

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

/// `some_key` as a title, of a sport or a market that nobody gave one.
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

/// What a bookmaker is called: by its key until upstream says more. Upstream gives one name to several, a brand in
/// several countries: those get the last word of their key, too.
pub(crate) fn told_apart(names: &BTreeMap<String, String>, key: &str) -> String {
    let Some(name) = names.get(key) else { return key.to_owned() };
    let is_shared = names.iter().any(|(other, of_other)| other != key && of_other == name);
    match key.split('_').skip(1).last() {
        Some(word) if is_shared => [name.clone(), pretty(word)].join(" "),
        _ => name.clone(),
    }
}

/// A text as it is searched by: without case and accents.
#[cfg(target_arch = "wasm32")]
pub(crate) fn folded(text: &str) -> String {
    // The browser knows letters by heart; the tables would be a tenth of the page.
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
        let told: Vec<String> = names.keys().map(|key| told_apart(&names, key)).collect();
        assert_eq!(told, ["Betfair EU", "Betfair UK", "Unibet", "Unibet UK", "Caesars"]);
        assert_eq!(told_apart(&names, "new_one"), "new_one");
    }

    #[test]
    fn keys_become_titles() {
        assert_eq!(pretty("soccer_epl"), "Soccer EPL");
        assert_eq!(market_title("h2h"), "Winner");
        assert_eq!(market_title("player_points"), "Player Points");
    }
}
