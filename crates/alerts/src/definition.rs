//! Rules as JSON: how users write them, and how they are stored.

use odds::{Decimal, Region, Timestamp};
use serde_json::{Map, Value, json};

use crate::{Channel, Channels, Kind, Limit, OutcomeName, Regions, Rule, Scope};

/// The longest name, team or outcome, in bytes.
const MAX_TEXT: usize = 200;
const MAX_BOOKMAKERS: usize = 100;
/// A day: the longest time before a start, and without a live feed.
const MAX_MINUTES: u32 = 1_440;
/// The longest time in which a movement is looked for.
pub(crate) const MAX_MOVE_MINUTES: u32 = 30;
/// Thirty days.
const MAX_COOLDOWN_MINUTES: u32 = 43_200;

/// A rule that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidRule {
    /// The wrong field.
    pub field: &'static str,
    pub reason: String,
}

fn invalid(field: &'static str, reason: impl Into<String>) -> InvalidRule {
    InvalidRule { field, reason: reason.into() }
}

const FIELDS: [&str; 21] = [
    "name",
    "kind",
    "at_least",
    "at_most",
    "percent",
    "minutes",
    "by",
    "min_bookmakers",
    "regions",
    "bookmakers",
    "event",
    "sport",
    "team",
    "market",
    "outcome",
    "point",
    "description",
    "channels",
    "cooldown_minutes",
    "once",
    "until",
];

impl Rule {
    /// Reads a rule as its user wrote it. The error names the field that is wrong.
    pub fn from_json(value: &Value) -> Result<Self, InvalidRule> {
        let fields = Fields(value.as_object().ok_or_else(|| invalid("rule", "expected an object"))?);
        fields.refuse_unknown()?;
        let key = fields.text("kind")?.ok_or_else(|| invalid("kind", KINDS))?;
        let kind = fields.kind(&key)?;
        let scope = fields.scope()?;
        check(&kind, &scope)?;
        fields.refuse_of_other_kinds(&kind)?;
        Ok(Self {
            name: fields.text("name")?,
            kind,
            scope,
            channels: fields.channels()?,
            cooldown_minutes: fields.minutes("cooldown_minutes", 1, MAX_COOLDOWN_MINUTES)?,
            until: fields.parsed::<Timestamp>("until", "a time such as 2026-11-21T12:00:00Z")?,
        })
    }

    /// The rule as JSON that [`Self::from_json`] reads. What is absent is left out.
    pub fn to_json(&self) -> Value {
        let number = |decimal: Decimal| decimal.to_string().parse::<serde_json::Number>().expect("a JSON number");
        let Scope { regions, bookmakers, event, sport, team, market, outcome } = &self.scope;
        let mut fields = json!({
            "kind": self.kind.key(),
            "name": self.name,
            "regions": regions.iter().map(Region::key).collect::<Vec<_>>(),
            "bookmakers": (!bookmakers.is_empty()).then_some(bookmakers),
            "event": event,
            "sport": sport,
            "team": team,
            "market": market,
            "outcome": outcome.as_ref().map(|it| &it.name),
            "point": outcome.as_ref().and_then(|it| it.point).map(number),
            "description": outcome.as_ref().and_then(|it| it.description.as_ref()),
            "channels": self.channels.iter().map(Channel::key).collect::<Vec<_>>(),
            "cooldown_minutes": self.cooldown_minutes,
            "until": self.until,
        });
        let mut set = |name: &str, value: Value| fields[name] = value;
        match self.kind {
            Kind::Price(Limit::AtLeast(price)) => set("at_least", number(price).into()),
            Kind::Price(Limit::AtMost(price)) => set("at_most", number(price).into()),
            Kind::Move { percent, minutes, bookmakers } => {
                set("percent", number(percent).into());
                set("minutes", minutes.into());
                set("min_bookmakers", bookmakers.into());
            }
            Kind::Line { by } => set("by", number(by).into()),
            Kind::Arbitrage { percent } => set("percent", number(percent).into()),
            Kind::Starts { minutes } | Kind::Feed { minutes } => set("minutes", minutes.into()),
        }
        if let Value::Object(fields) = &mut fields {
            fields.retain(|_, value| !value.is_null());
        }
        fields
    }
}

const KINDS: &str = "expected price, move, line, arbitrage, starts or feed";

/// Checks that the scope has what the kind needs, and nothing that would not limit it.
fn check(kind: &Kind, scope: &Scope) -> Result<(), InvalidRule> {
    let Scope { event, sport, team, market, outcome, bookmakers, .. } = scope;
    let unused = |field: &'static str, is_given: bool| match is_given {
        true => Err(invalid(field, format!("does not apply to a rule of the kind {}", kind.key()))),
        false => Ok(()),
    };
    let is_about_prices = !matches!(kind, Kind::Starts { .. } | Kind::Feed { .. });
    if matches!(kind, Kind::Feed { .. }) {
        unused("event", event.is_some())?;
        unused("sport", sport.is_some())?;
        unused("team", team.is_some())?;
    } else {
        match (event, sport) {
            (Some(_), Some(_)) => return Err(invalid("sport", "a rule is about an event or a sport, not both")),
            (None, None) => return Err(invalid("event", "expected the id of an event; or give a sport")),
            (Some(_), None) => unused("team", team.is_some())?,
            (None, Some(_)) => {}
        }
    }
    if is_about_prices {
        market.as_ref().ok_or_else(|| invalid("market", "expected the key of a market, such as h2h"))?;
    } else {
        unused("market", market.is_some())?;
        unused("bookmakers", !bookmakers.is_empty())?;
    }
    if matches!(kind, Kind::Price(_) | Kind::Move { .. }) {
        if event.is_some() && outcome.is_none() {
            return Err(invalid("outcome", "expected the name of an outcome"));
        }
    } else {
        unused("outcome", outcome.is_some())?;
    }
    Ok(())
}

struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn refuse_unknown(&self) -> Result<(), InvalidRule> {
        match self.0.keys().find(|name| !FIELDS.contains(&name.as_str())) {
            Some(name) => {
                Err(invalid("rule", format!("unknown field {:?}", name.chars().take(40).collect::<String>())))
            }
            None => Ok(()),
        }
    }

    /// A value that another kind would use is a mistake.
    fn refuse_of_other_kinds(&self, kind: &Kind) -> Result<(), InvalidRule> {
        let used: &[&str] = match kind {
            Kind::Price(_) => &["at_least", "at_most"],
            Kind::Move { .. } => &["percent", "minutes", "min_bookmakers"],
            Kind::Line { .. } => &["by"],
            Kind::Arbitrage { .. } => &["percent"],
            Kind::Starts { .. } | Kind::Feed { .. } => &["minutes"],
        };
        let values = ["at_least", "at_most", "percent", "minutes", "by", "min_bookmakers"];
        match values.into_iter().find(|name| !used.contains(name) && self.get(name).is_some()) {
            Some(name) => Err(invalid(name, format!("does not apply to a rule of the kind {}", kind.key()))),
            None => Ok(()),
        }
    }

    fn text(&self, name: &'static str) -> Result<Option<String>, InvalidRule> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let text = value.as_str().ok_or_else(|| invalid(name, "expected a text"))?.trim();
        match text.is_empty() || text.len() > MAX_TEXT || text.chars().any(char::is_control) {
            true => Err(invalid(name, format!("expected 1 to {MAX_TEXT} bytes without control characters"))),
            false => Ok(Some(text.to_owned())),
        }
    }

    fn parsed<T: std::str::FromStr>(&self, name: &'static str, what: &str) -> Result<Option<T>, InvalidRule> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| invalid(name, format!("expected {what}")))
    }

    fn number(&self, name: &'static str, from: Decimal, to: Decimal) -> Result<Option<Decimal>, InvalidRule> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_number().and_then(|number| number.to_string().parse().ok());
        match number.filter(|number| from <= *number && *number <= to) {
            Some(number) => Ok(Some(number)),
            None => Err(invalid(name, format!("expected a number from {from} to {to}"))),
        }
    }

    fn minutes(&self, name: &'static str, from: u32, to: u32) -> Result<Option<u32>, InvalidRule> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        match number.filter(|number| (from..=to).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(invalid(name, format!("expected a whole number from {from} to {to}"))),
        }
    }

    fn list<T: std::str::FromStr>(&self, name: &'static str, what: &str) -> Result<Option<Vec<T>>, InvalidRule> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let texts = value.as_array().map(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        let texts = texts.flatten().ok_or_else(|| invalid(name, format!("expected a list of {what}")))?;
        if texts.len() > MAX_BOOKMAKERS {
            return Err(invalid(name, format!("expected at most {MAX_BOOKMAKERS}")));
        }
        let parsed = texts.into_iter().map(|text| {
            let shown: String = text.chars().take(40).collect();
            text.parse().map_err(|_| invalid(name, format!("{shown:?} is none of {what}")))
        });
        parsed.collect::<Result<Vec<T>, _>>().map(Some)
    }

    fn kind(&self, key: &str) -> Result<Kind, InvalidRule> {
        let needs = |name: &'static str, value: Option<Decimal>| value.ok_or_else(|| invalid(name, "is missing"));
        let least = |hundredths: i64| Decimal::new(hundredths, 2);
        let (percent_to, minutes) = (least(10_000), |to| self.minutes("minutes", 1, to));
        let missing = || invalid("minutes", "is missing");
        Ok(match key {
            "price" => {
                let bound = |name| self.number(name, least(101), least(1_000_100));
                match (bound("at_least")?, bound("at_most")?) {
                    (Some(price), None) => Kind::Price(Limit::AtLeast(price)),
                    (None, Some(price)) => Kind::Price(Limit::AtMost(price)),
                    _ => return Err(invalid("at_least", "expected either at_least or at_most")),
                }
            }
            "move" => Kind::Move {
                percent: needs("percent", self.number("percent", least(10), percent_to)?)?,
                minutes: minutes(MAX_MOVE_MINUTES)?.ok_or_else(missing)?,
                bookmakers: self.minutes("min_bookmakers", 1, 100)?.unwrap_or(1),
            },
            "line" => Kind::Line { by: needs("by", self.number("by", least(25), least(100_000))?)? },
            "arbitrage" => {
                Kind::Arbitrage { percent: needs("percent", self.number("percent", least(1), percent_to)?)? }
            }
            "starts" => Kind::Starts { minutes: minutes(MAX_MINUTES)?.ok_or_else(missing)? },
            "feed" => Kind::Feed { minutes: minutes(MAX_MINUTES)?.ok_or_else(missing)? },
            _ => return Err(invalid("kind", KINDS)),
        })
    }

    fn scope(&self) -> Result<Scope, InvalidRule> {
        let regions = self.list::<Region>("regions", "us, uk, eu and au")?;
        if regions.as_ref().is_some_and(Vec::is_empty) {
            return Err(invalid("regions", "expected at least one"));
        }
        let mut bookmakers = self.list("bookmakers", "keys of bookmakers")?.unwrap_or_default();
        bookmakers.sort_unstable();
        bookmakers.dedup();
        let (point, description) = (self.point()?, self.text("description")?);
        let outcome = match self.text("outcome")? {
            Some(name) => Some(OutcomeName { name, point, description }),
            None if point.is_some() => return Err(invalid("point", "belongs to an outcome, which is missing")),
            None if description.is_some() => {
                return Err(invalid("description", "belongs to an outcome, which is missing"));
            }
            None => None,
        };
        Ok(Scope {
            regions: regions.map_or(Regions::ALL, |regions| regions.into_iter().collect()),
            bookmakers,
            event: self.parsed("event", "the id of an event")?,
            sport: self.parsed("sport", "the key of a sport, such as soccer_epl")?,
            team: self.text("team")?,
            market: self.parsed("market", "the key of a market, such as h2h")?,
            outcome,
        })
    }

    fn point(&self) -> Result<Option<Decimal>, InvalidRule> {
        let most = Decimal::new(100_000, 0);
        self.number("point", most.negated(), most)
    }

    fn channels(&self) -> Result<Channels, InvalidRule> {
        if let Some(once) = self.get("once") {
            let has_cooldown = self.get("cooldown_minutes").is_some();
            if once.as_bool() != Some(!has_cooldown) {
                return Err(invalid("once", "expected true without cooldown_minutes, or false with them"));
            }
        }
        let Some(keys) = self.list::<String>("channels", "page, email and sms")? else {
            return Ok([Channel::Page].into_iter().collect());
        };
        let channel = |key: &String| Channel::ALL.into_iter().find(|channel| channel.key() == key);
        match keys.iter().map(channel).collect::<Option<Vec<_>>>() {
            Some(channels) if !channels.is_empty() => Ok(channels.into_iter().collect()),
            _ => Err(invalid("channels", "expected some of page, email and sms")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Rule, InvalidRule> {
        Rule::from_json(&serde_json::from_str(json).unwrap())
    }

    const PRICE: &str = r#"{"kind":"price","event":"e1","market":"h2h","outcome":"Leeds","at_least":2.1}"#;

    #[test]
    fn a_rule_is_read_as_it_was_written() {
        for json in [
            PRICE,
            r#"{"kind":"price","sport":"soccer_epl","team":"lee","market":"h2h","at_most":1.5,"regions":["uk","us"],
                "bookmakers":["b","a","b"],"channels":["sms","page"],"cooldown_minutes":5,"name":"Leeds",
                "until":"2026-11-21T12:00:00Z"}"#,
            r#"{"kind":"price","event":"e1","market":"totals","outcome":"Over","point":-2.5,"description":"x",
                "at_least":2}"#,
            r#"{"kind":"move","event":"e1","market":"h2h","outcome":"Leeds","percent":5,"minutes":30,
                "min_bookmakers":3}"#,
            r#"{"kind":"line","event":"e1","market":"totals","by":0.5}"#,
            r#"{"kind":"arbitrage","sport":"soccer_epl","market":"h2h","percent":1.25}"#,
            r#"{"kind":"starts","event":"e1","minutes":15}"#,
            r#"{"kind":"feed","regions":["eu"],"minutes":5}"#,
        ] {
            let rule = read(json).unwrap();
            assert_eq!(Rule::from_json(&rule.to_json()), Ok(rule), "{json}");
        }
    }

    #[test]
    fn what_is_absent_means_everywhere_on_the_page_and_once() {
        let rule = read(PRICE).unwrap();
        assert_eq!((rule.scope.regions, rule.cooldown_minutes, rule.until), (Regions::ALL, None, None));
        assert_eq!(rule.channels.iter().collect::<Vec<_>>(), [Channel::Page]);
    }

    #[test]
    fn the_error_names_the_wrong_field() {
        let price = |more: &str| PRICE.replace('}', &format!(",{more}}}"));
        for (field, json) in [
            ("kind", r#"{"kind":"prize"}"#.to_owned()),
            ("kind", "{}".to_owned()),
            ("rule", "[]".to_owned()),
            ("rule", price(r#""colour":"red""#)),
            ("at_least", price(r#""at_most":3"#)),
            ("at_least", PRICE.replace("2.1", "1")),
            ("at_least", PRICE.replace("2.1", "\"2.1\"")),
            ("event", PRICE.replace("\"event\":\"e1\",", "")),
            ("event", PRICE.replace("e1", "e 1")),
            ("sport", price(r#""sport":"soccer_epl""#)),
            ("team", price(r#""team":"lee""#)),
            ("market", PRICE.replace("\"market\":\"h2h\",", "")),
            ("outcome", PRICE.replace("\"outcome\":\"Leeds\",", "")),
            ("minutes", price(r#""minutes":5"#)),
            ("regions", price(r#""regions":["fr"]"#)),
            ("regions", price(r#""regions":[]"#)),
            ("bookmakers", price(r#""bookmakers":["a b"]"#)),
            ("channels", price(r#""channels":["pigeon"]"#)),
            ("cooldown_minutes", price(r#""cooldown_minutes":0"#)),
            ("once", price(r#""once":true,"cooldown_minutes":5"#)),
            ("until", price(r#""until":"tomorrow""#)),
            ("name", price(r#""name":"""#)),
            ("minutes", r#"{"kind":"starts","event":"e1","minutes":1441}"#.to_owned()),
            ("market", r#"{"kind":"starts","event":"e1","minutes":5,"market":"h2h"}"#.to_owned()),
            ("sport", r#"{"kind":"feed","sport":"soccer_epl","minutes":5}"#.to_owned()),
            ("minutes", r#"{"kind":"move","event":"e1","market":"h2h","outcome":"x","percent":5,"minutes":31}"#.into()),
            ("percent", r#"{"kind":"arbitrage","event":"e1","market":"h2h"}"#.to_owned()),
            ("outcome", r#"{"kind":"line","event":"e1","market":"totals","by":1,"outcome":"Over"}"#.to_owned()),
        ] {
            let error = read(&json).unwrap_err();
            assert_eq!(error.field, field, "{json}: {error}");
        }
    }
}
