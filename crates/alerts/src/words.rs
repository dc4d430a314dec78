//! What happened, in words, for messages. The page has words of its own: it knows the bookmakers' names, and the formats
//! that its visitor has chosen.

use odds::{Decimal, Region};

use crate::Facts;

/// A key such as `betfair_ex_uk`, as words.
fn words(key: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>()).unwrap_or_default()
    };
    key.split('_').map(capital).collect::<Vec<_>>().join(" ")
}

/// A bookmaker's key without its region, which is said anyway.
fn brand(key: &str) -> String {
    let region = Region::ALL.into_iter().find_map(|region| key.strip_suffix(region.key())?.strip_suffix('_'));
    words(region.unwrap_or(key))
}

fn market(key: &str) -> String {
    match key {
        "h2h" => "Winner".to_owned(),
        "spreads" => "Handicap".to_owned(),
        "totals" => "Total".to_owned(),
        "outrights" => "Outright winner".to_owned(),
        other => words(other),
    }
}

/// With up to two decimal places.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn price(price: Decimal) -> String {
    format!("{:.2}", price.to_f64())
}

impl Facts {
    /// What it is about: the teams, or else the competition, or else a region.
    pub fn title(&self) -> String {
        match (&self.home_team, &self.away_team, &self.sport_title, self.region) {
            (Some(home), Some(away), ..) => format!("{home} - {away}"),
            (_, _, Some(sport), _) => sport.clone(),
            (_, _, _, Some(region)) => format!("Odds of the {}", region.key().to_uppercase()),
            _ => "Alert".to_owned(),
        }
    }

    /// What happened, in the letters that an SMS has.
    pub fn sentence(&self) -> String {
        let (from, value) = (self.from.unwrap_or_default(), self.value.unwrap_or_default());
        let region = self.region.map(|region| region.key().to_uppercase()).unwrap_or_default();
        let market = self.market.as_ref().map(|key| market(key.as_str())).unwrap_or_default();
        match self.kind.as_str() {
            "price" => {
                let at = self.bookmaker.as_ref().map(|key| format!(" at {}", brand(key.as_str()))).unwrap_or_default();
                let price = self.price.map(price).unwrap_or_default();
                format!("{} reached {price}{at} ({region})", self.outcome_name())
            }
            "move" => format!("{} moved from {from:.1}% to {value:.1}%", self.outcome_name()),
            "line" => format!("{market}: the main line moved from {} to {}", number(from), number(value)),
            "arbitrage" => format!("{market}: the best prices win {}%", number(value)),
            "starts" => format!("It starts within {} minutes", number(value.ceil())),
            _ => format!("{region} has had no live prices for {} minutes", number(value.floor())),
        }
    }

    fn outcome_name(&self) -> String {
        let Some(outcome) = &self.outcome else { return "An outcome".to_owned() };
        let is_total = ["Over", "Under"].contains(&outcome.as_str());
        let point = self.point.map(|point| {
            let point = point.to_f64();
            let sign = if point > 0.0 && !is_total { "+" } else { "" };
            format!(" {sign}{}", number(point))
        });
        let of = self.description.as_ref().map(|it| format!("{it}: ")).unwrap_or_default();
        format!("{of}{outcome}{}", point.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(fields: &str) -> Facts {
        let teams = r#""sport":"soccer_epl","sport_title":"EPL","home_team":"Arsenal","away_team":"Leeds""#;
        serde_json::from_str(&format!("{{{teams},{fields}}}")).unwrap()
    }

    #[test]
    fn each_kind_has_its_sentence() {
        for (fields, sentence) in [
            (
                r#""kind":"price","outcome":"Arsenal","market":"h2h","price":2.1,"bookmaker":"betfair_ex_uk","region":"uk""#,
                "Arsenal reached 2.10 at Betfair Ex (UK)",
            ),
            (
                r#""kind":"price","outcome":"Over","point":2.5,"market":"totals","price":1.9,"region":"us""#,
                "Over 2.5 reached 1.90 (US)",
            ),
            (
                r#""kind":"move","outcome":"Leeds","point":1.5,"market":"spreads","from":40.04,"value":45.5"#,
                "Leeds +1.5 moved from 40.0% to 45.5%",
            ),
            (r#""kind":"line","market":"totals","from":2.5,"value":3"#, "Total: the main line moved from 2.5 to 3"),
            (r#""kind":"arbitrage","market":"h2h","value":1.25"#, "Winner: the best prices win 1.25%"),
            (r#""kind":"starts","value":14.2"#, "It starts within 15 minutes"),
            (r#""kind":"feed","region":"eu","value":5"#, "EU has had no live prices for 5 minutes"),
        ] {
            assert_eq!(facts(fields).sentence(), sentence);
        }
        assert_eq!(facts(r#""kind":"starts""#).title(), "Arsenal - Leeds");
        let feed: Facts = serde_json::from_str(r#"{"kind":"feed","region":"eu","value":5}"#).unwrap();
        assert_eq!(feed.title(), "Odds of the EU");
    }
}
