//! Alerts and the rules that they come from, as the page shows them; and prices as visitors write them.

use odds::{Decimal, Region, Timestamp};
use serde::Deserialize;

use super::{OddsFormat, event::title_of, format::fixed, market_title, pretty};
use crate::text;

/// An alert as the gateway sends it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Alert {
    pub(crate) id: String,
    pub(crate) rule: String,
    pub(crate) at: Timestamp,
    pub(crate) missed: bool,
    pub(crate) read_at: Option<Timestamp>,
    pub(crate) kind: String,
    pub(crate) event: Option<String>,
    #[serde(default)]
    sport: String,
    #[serde(default)]
    sport_title: String,
    home_team: Option<String>,
    away_team: Option<String>,
    market: Option<String>,
    outcome: Option<String>,
    point: Option<f64>,
    description: Option<String>,
    price: Option<Decimal>,
    pub(crate) bookmaker: Option<String>,
    region: Option<Region>,
    from: Option<f64>,
    value: Option<f64>,
}

/// A rule as the gateway sends it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) revision: u32,
    kind: String,
    pub(crate) name: Option<String>,
    market: Option<String>,
    outcome: Option<String>,
    point: Option<f64>,
    description: Option<String>,
    at_least: Option<f64>,
    at_most: Option<f64>,
    percent: Option<f64>,
    by: Option<f64>,
    minutes: Option<u32>,
    #[serde(default)]
    regions: Vec<Region>,
    #[serde(default)]
    bookmakers: Vec<String>,
    pub(crate) event: Option<String>,
    sport: Option<String>,
    team: Option<String>,
    cooldown_minutes: Option<u32>,
    pub(crate) ended: Option<String>,
}

/// An outcome with its point and description.
fn outcome_title(name: Option<&str>, point: Option<f64>, description: Option<&str>) -> String {
    let name = name.unwrap_or(text::ANY_OUTCOME);
    let sign = |point: f64| if point > 0.0 && !["Over", "Under"].contains(&name) { "+" } else { "" };
    let point = point.map(|point| format!(" {}{}", sign(point), plain(point))).unwrap_or_default();
    let description = description.map(|it| format!("{it}: ")).unwrap_or_default();
    format!("{description}{name}{point}")
}

fn market_name(market: Option<&str>) -> String {
    market.map(market_title).unwrap_or_default()
}

/// A price in the visitor's format.
fn price(format: OddsFormat, price: f64) -> String {
    format.say(Decimal::new((price * 1_000.0).round() as i64, 3))
}

/// A number without zeros at its end.
fn plain(number: f64) -> String {
    let text = fixed(number, 2);
    text.trim_end_matches('0').trim_end_matches(|letter: char| !letter.is_ascii_digit()).to_owned()
}

impl Alert {
    /// What happened, and what the rule asked for if it is still known. `bookmaker` is the bookmaker's name.
    pub(crate) fn sentence(&self, rule: Option<&Rule>, bookmaker: &str, format: OddsFormat) -> String {
        let (from, value) = (self.from.unwrap_or_default(), self.value.unwrap_or_default());
        let outcome = || outcome_title(self.outcome.as_deref(), self.point, self.description.as_deref());
        let region = self.region.map(|region| region.key().to_ascii_uppercase()).unwrap_or_default();
        let what = match self.kind.as_str() {
            "price" => {
                let price = self.price.map(|price| format.say(price)).unwrap_or_default();
                text::price_reached(&outcome(), &price, bookmaker, &region)
            }
            "move" => text::has_moved(&outcome(), &fixed(from, 1), &fixed(value, 1)),
            "line" => text::line_moved(&market_name(self.market.as_deref()), &plain(from), &plain(value)),
            "arbitrage" => text::arbitrage_found(&market_name(self.market.as_deref()), &plain(value)),
            "starts" => text::starts_in(&plain(value.ceil())),
            _ => text::feed_is_out(&region, &plain(value.floor())),
        };
        match rule.filter(|rule| rule.is_of(self)) {
            Some(rule) => text::and_asked(&what, &rule.limit(format)),
            None => what,
        }
    }

    fn teams(&self) -> Option<String> {
        title_of(&self.sport, self.home_team.as_deref(), self.away_team.as_deref())
    }

    /// The event's teams, or else its league. Empty if it is about no event.
    pub(crate) fn title(&self) -> String {
        self.teams().unwrap_or_else(|| self.sport_title.clone())
    }

    /// The event's teams, its league and the market.
    pub(crate) fn place(&self) -> String {
        let parts = [self.teams().unwrap_or_default(), self.sport_title.clone(), market_name(self.market.as_deref())];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
    }
}

impl Rule {
    /// Whether it was like this when this alert came.
    fn is_of(&self, alert: &Alert) -> bool {
        alert.id.starts_with(&format!("{}-{}-", self.id, self.revision))
    }

    /// Whether it waits for a price of this outcome.
    pub(crate) fn is_about(&self, event: &str, market: &str, outcome: &(String, Option<Decimal>)) -> bool {
        self.event.as_deref() == Some(event)
            && self.market.as_deref() == Some(market)
            && self.outcome.as_ref() == Some(&outcome.0)
            && self.point == outcome.1.map(Decimal::to_f64)
    }

    /// What it waits for, without what it is about.
    pub(crate) fn limit(&self, format: OddsFormat) -> String {
        let minutes = self.minutes.unwrap_or_default();
        let percent = self.percent.map(plain).unwrap_or_default();
        match (self.kind.as_str(), self.at_least, self.at_most) {
            (_, Some(at_least), _) => text::or_better(&price(format, at_least)),
            (_, _, Some(at_most)) => text::or_lower(&price(format, at_most)),
            ("move", ..) => text::move_of(&percent, minutes),
            ("line", ..) => text::line_move_of(&self.by.map(plain).unwrap_or_default()),
            ("arbitrage", ..) => text::arbitrage_of(&percent),
            ("starts", ..) => text::minutes_before(minutes),
            _ => text::minutes_out(minutes),
        }
    }

    /// What it waits for.
    pub(crate) fn sentence(&self, format: OddsFormat) -> String {
        let limit = self.limit(format);
        match self.kind.as_str() {
            "price" | "move" => {
                format!("{}: {limit}", outcome_title(self.outcome.as_deref(), self.point, self.description.as_deref()))
            }
            "line" | "arbitrage" => format!("{}: {limit}", market_name(self.market.as_deref())),
            _ => limit,
        }
    }

    /// How often, where and at whom. `title` is the event's, if it is known.
    pub(crate) fn place(&self, title: Option<String>) -> String {
        let title = self.name.clone().or(title).or_else(|| self.sport.as_deref().map(pretty));
        let market = Some(market_name(self.market.as_deref())).filter(|market| !market.is_empty());
        let regions: Vec<String> = self.regions.iter().map(|it| it.key().to_ascii_uppercase()).collect();
        let bookmakers = match self.bookmakers.len() {
            0 => None,
            count => Some(text::only_bookmakers(count)),
        };
        let how_often = self.cooldown_minutes.map_or(text::ONCE.to_owned(), text::again_after);
        let parts = [title, self.team.clone(), market, Some(how_often), Some(regions.join(" ")), bookmakers];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
    }
}

/// Returns a price a little better than this one, to be told of.
pub(crate) fn a_step_better(price: Decimal) -> Decimal {
    let hundredths = (price.to_f64() * 100.0 + 0.001) as i64;
    let step = match hundredths {
        ..200 => 5,
        200..500 => 10,
        500..1_000 => 50,
        1_000..5_000 => 100,
        _ => 1_000,
    };
    Decimal::new((hundredths / step + 1) * step, 2)
}

/// Writes a price in this format, or as a decimal if that would be another price.
pub(crate) fn written(price: Decimal, format: OddsFormat) -> String {
    let text = format.say(price);
    if read_price(&text, format) == Some(price) { text } else { OddsFormat::Decimal.say(price) }
}

/// Reads a price as a visitor writes it: 2.10, 2,10, +110, -120 or 11/10. American ones need no plus in their own format.
pub(crate) fn read_price(text: &str, format: OddsFormat) -> Option<Decimal> {
    let plain = |letter| match letter {
        ',' => '.',
        '−' => '-',
        _ => letter,
    };
    let text: String = text.trim().chars().map(plain).collect();
    let whole = |text: &str| text.parse::<i64>().ok().filter(|number| (1..=1_000_000).contains(number));
    // To the nearest hundredth, as bookmakers offer them.
    let plus = |won: i64, staked: i64| Decimal::new(100 + (200 * won + staked) / (2 * staked), 2);
    if let Some((won, staked)) = text.split_once('/') {
        return Some(plus(whole(won.trim())?, whole(staked.trim())?));
    }
    let is_american = format == OddsFormat::American && whole(&text).is_some_and(|number| number >= 100);
    if let Some(won) = text.strip_prefix('+').or(is_american.then_some(&*text)) {
        return Some(plus(whole(won)?, 100));
    }
    match text.strip_prefix('-') {
        Some(staked) => Some(plus(100, whole(staked)?)),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn alert(facts: &str) -> Alert {
        serde_json::from_str(&format!(
            r#"{{"id":"r1-1-1","rule":"r1","at":"2026-01-01T12:00:00Z","missed":false,"channels":["page"],
                "sport":"soccer_epl","sport_title":"EPL","home_team":"Arsenal","away_team":"Leeds",{facts}}}"#
        ))
        .unwrap()
    }

    fn rule(fields: &str) -> Rule {
        serde_json::from_str(&format!(r#"{{"id":"r1","revision":1,"regions":["uk","eu"],{fields}}}"#)).unwrap()
    }

    #[test]
    fn a_step_better_is_a_round_price_above() {
        for (now, then) in [
            ("1.01", "1.05"),
            ("1.98", "2"),
            ("2.04", "2.1"),
            ("2.1", "2.2"),
            ("4.95", "5"),
            ("7", "7.5"),
            ("60", "70"),
        ] {
            assert_eq!(a_step_better(decimal(now)), decimal(then), "{now}");
        }
    }

    #[test]
    fn prices_are_read_as_they_are_written() {
        for (text, price) in [
            ("2.10", "2.1"),
            (" 2,1", "2.1"),
            ("+110", "2.1"),
            ("-200", "1.5"),
            ("−150", "1.67"),
            ("11/10", "2.1"),
            ("3", "3"),
        ] {
            assert_eq!(read_price(text, OddsFormat::Decimal), Some(decimal(price)), "{text}");
        }
        assert_eq!(read_price("150", OddsFormat::American), Some(decimal("2.5")));
        assert_eq!(read_price("2.5", OddsFormat::American), Some(decimal("2.5")));
        for text in ["", "evens", "1/0", "+", "2.1.1", "1/2/3", "-0"] {
            assert_eq!(read_price(text, OddsFormat::Decimal), None, "{text}");
        }
    }

    #[test]
    fn a_price_is_written_in_the_visitors_format_unless_that_changes_it() {
        assert_eq!(written(decimal("2.1"), OddsFormat::American), "+110");
        assert_eq!(written(decimal("2.5"), OddsFormat::Fractional), "3/2");
        assert_eq!(written(decimal("1.05"), OddsFormat::American), "-2000");
        for hundredths in 101..2_000 {
            let price = Decimal::new(hundredths, 2);
            for format in OddsFormat::ALL {
                assert_eq!(read_price(&written(price, format), format), Some(price), "{price}");
            }
        }
    }

    #[test]
    fn an_alert_says_what_happened_and_what_was_asked_for() {
        let reached = alert(
            r#""kind":"price","event":"e1","market":"h2h","outcome":"Arsenal","price":2.16,"bookmaker":"betfair_ex_uk","region":"uk""#,
        );
        let asked = rule(r#""kind":"price","event":"e1","market":"h2h","outcome":"Arsenal","at_least":2.1"#);
        let say = |rule: Option<&Rule>| reached.sentence(rule, "Betfair", OddsFormat::Decimal);
        assert_eq!(say(Some(&asked)), "Arsenal reached 2.16 at Betfair (UK): you asked for 2.10 or better");
        assert_eq!(say(None), "Arsenal reached 2.16 at Betfair (UK)");
        // It was edited since.
        assert_eq!(say(Some(&Rule { revision: 2, ..asked })), "Arsenal reached 2.16 at Betfair (UK)");
        assert_eq!(reached.title(), "Arsenal – Leeds");
        assert_eq!(reached.place(), "Arsenal – Leeds · EPL · Winner");
    }

    #[test]
    fn each_kind_has_its_sentence() {
        for (facts, sentence) in [
            (
                r#""kind":"move","outcome":"Leeds","market":"h2h","from":40.04,"value":45.5"#,
                "Leeds moved from 40.0 % to 45.5 % by the consensus of the bookmakers",
            ),
            (r#""kind":"line","market":"totals","from":2.5,"value":3"#, "Total: the main line moved from 2.5 to 3"),
            (r#""kind":"arbitrage","market":"h2h","value":1.25"#, "Winner: the best prices win 1.25 %"),
            (r#""kind":"starts","value":14.2"#, "It starts within 15 minutes"),
            (r#""kind":"feed","region":"eu","value":5"#, "EU has had no live prices for 5 minutes"),
            (
                r#""kind":"price","outcome":"Over","point":2.5,"market":"totals","price":1.9,"region":"us""#,
                "Over 2.5 reached 1.90 at Betfair (US)",
            ),
        ] {
            assert_eq!(alert(facts).sentence(None, "Betfair", OddsFormat::Decimal), sentence);
        }
    }

    #[test]
    fn a_rule_says_what_it_waits_for_and_how_often() {
        let price = rule(
            r#""kind":"price","event":"e1","market":"spreads","outcome":"Leeds","point":1.5,"at_least":2.1,"bookmakers":["a","b"]"#,
        );
        assert_eq!(price.sentence(OddsFormat::American), "Leeds +1.5: +110 or better");
        assert_eq!(price.place(Some("A – B".into())), "A – B · Handicap · once · UK EU · 2 bookmakers");
        assert!(price.is_about("e1", "spreads", &("Leeds".into(), Some(decimal("1.5")))));
        assert!(!price.is_about("e1", "spreads", &("Leeds".into(), None)));
        for (fields, sentence) in [
            (r#""kind":"price","sport":"soccer_epl","market":"h2h","at_most":1.5"#, "Any outcome: 1.50 or lower"),
            (
                r#""kind":"move","sport":"soccer_epl","market":"h2h","outcome":"Draw","percent":5,"minutes":30"#,
                "Draw: a movement of 5 points within 30 minutes",
            ),
            (r#""kind":"line","event":"e1","market":"totals","by":0.5"#, "Total: the main line moves by 0.5"),
            (
                r#""kind":"arbitrage","event":"e1","market":"h2h","percent":1"#,
                "Winner: the best prices win 1 % or more",
            ),
            (r#""kind":"starts","event":"e1","minutes":15"#, "15 minutes before the start"),
            (r#""kind":"feed","minutes":5"#, "no live prices for 5 minutes"),
        ] {
            assert_eq!(rule(fields).sentence(OddsFormat::Decimal), sentence);
        }
        let again = rule(r#""kind":"price","sport":"soccer_epl","team":"lee","at_most":1.5,"cooldown_minutes":30"#);
        assert_eq!(again.place(None), "Soccer EPL · lee · again after 30 minutes · UK EU");
    }
}
