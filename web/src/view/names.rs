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

/// `some_key` as a title, of a sport or a market that nobody gave one.
pub(crate) fn pretty(key: &str) -> String {
    let words = key.split('_').filter(|word| !word.is_empty()).map(|word| {
        let is_region = ["us", "uk", "nfl", "nba", "nhl", "mlb", "epl", "mma", "wnba"].contains(&word);
        let mut word = word.to_owned();
        let letters = if is_region { word.len() } else { 1 };
        if let Some(first) = word.get_mut(..letters) {
            first.make_ascii_uppercase();
        }
        word
    });
    words.collect::<Vec<_>>().join(" ")
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
    fn keys_become_titles() {
        assert_eq!(pretty("soccer_epl"), "Soccer EPL");
        assert_eq!(market_title("h2h"), "Winner");
        assert_eq!(market_title("player_points"), "Player Points");
    }
}
