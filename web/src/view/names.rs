//! Display names of markets, sports and bookmakers.

use std::collections::BTreeMap;

use crate::text;

/// Returns a market's display name.
pub(crate) fn market_title(key: &str) -> String {
    text::market(key).map_or_else(|| pretty(key), str::to_owned)
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

/// Returns a name that may break between its parts, also inside of a word like `BoyleSports`.
pub(crate) fn breakable(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 6);
    let mut before = ' ';
    for letter in name.chars() {
        let is_part = before.is_ascii_lowercase() && (letter.is_ascii_uppercase() || letter == '.');
        if is_part {
            text.push(ZERO_WIDTH_SPACE);
        }
        text.push(letter);
        before = letter;
    }
    text
}

const ZERO_WIDTH_SPACE: char = '\u{200b}';

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
    fn a_name_breaks_between_its_parts() {
        let parts = |name: &str| breakable(name).split(ZERO_WIDTH_SPACE).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(parts("BoyleSports"), ["Boyle", "Sports"]);
        assert_eq!(parts("BetOnline.ag"), ["Bet", "Online", ".ag"]);
        assert_eq!(parts("TAB"), ["TAB"]);
    }

    #[test]
    fn keys_become_titles() {
        assert_eq!(pretty("soccer_epl"), "Soccer EPL");
        assert_eq!(market_title("h2h"), "Winner");
        assert_eq!(market_title("player_points"), "Player Points");
    }
}
