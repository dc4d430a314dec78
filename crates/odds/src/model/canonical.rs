//! Recognises outcomes that are canonical JSON already, as producers write them, so that they need not be parsed and
//! written again. No slice here can panic: the code for that would make the page's wasm larger.

use std::cmp::Ordering;

use super::decimal::{Decimal, MAX_DIGITS};

/// Whether this valid JSON is, byte for byte, what [`crate::Outcomes::new`] would write. May return false for unusual
/// canonical text, but never true for other text.
pub(crate) fn is_canonical(json: &str) -> bool {
    json == "[]" || outcomes(json).is_some()
}

#[derive(Clone, Copy)]
struct Identity<'a> {
    name: &'a str,
    point: Option<&'a str>,
    description: Option<&'a str>,
}

fn outcomes(json: &str) -> Option<()> {
    let mut rest = json.strip_prefix('[')?;
    let mut last: Option<Identity<'_>> = None;
    loop {
        let (name, after) = string(rest.strip_prefix(r#"{"name":"#)?)?;
        let (_, mut after) = number(after.strip_prefix(r#","price":"#)?)?;
        let mut this = Identity { name, point: None, description: None };
        if let Some(point) = after.strip_prefix(r#","point":"#) {
            let (point, more) = number(point)?;
            (this.point, after) = (Some(point), more);
        }
        if let Some(description) = after.strip_prefix(r#","description":"#) {
            let (description, more) = string(description)?;
            (this.description, after) = (Some(description), more);
        }
        if last.is_some_and(|last| last.cmp(this) != Some(Ordering::Less)) {
            return None;
        }
        last = Some(this);
        match after.strip_prefix("},") {
            Some(more) => rest = more,
            None => return (after == "}]").then_some(()),
        }
    }
}

impl Identity<'_> {
    fn cmp(self, other: Identity<'_>) -> Option<Ordering> {
        let decimal = |text: Option<&str>| text.map(str::parse::<Decimal>).transpose().ok();
        match self.name.cmp(other.name) {
            Ordering::Equal => {
                let points = decimal(self.point)?.cmp(&decimal(other.point)?);
                Some(points.then_with(|| self.description.cmp(&other.description)))
            }
            order => Some(order),
        }
    }
}

/// Splits off a string without escapes.
fn string(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('"')?;
    let end = text.bytes().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let (string, rest) = text.split_at_checked(end)?;
    Some((string, rest.strip_prefix('"')?))
}

/// Splits off a number as [`Decimal`] writes it.
fn number(text: &str) -> Option<(&str, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let whole = digits(unsigned);
    let fraction = match unsigned.get(whole..)?.strip_prefix('.') {
        Some(fraction) => digits(fraction) + 1,
        None => 0,
    };
    let (number, rest) = text.split_at_checked(text.len() - unsigned.len() + whole + fraction)?;
    let zero_first = unsigned.starts_with('0');
    let canonical = whole > 0
        && (whole == 1 || !zero_first)
        && fraction != 1
        && (fraction == 0 || !number.ends_with('0'))
        && whole + fraction <= MAX_DIGITS
        && number != "-0"
        && !rest.starts_with(['e', 'E']);
    canonical.then_some((number, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Outcome, Outcomes};

    #[test]
    fn other_spellings_are_not_canonical() {
        for canonical in [
            "[]",
            r#"[{"name":"Over","price":2,"point":2.5},{"name":"Under","price":1.9,"point":2.5}]"#,
            r#"[{"name":"Over","price":2,"point":2.5},{"name":"Over","price":1.9,"point":10}]"#,
            r#"[{"name":"A","price":2,"description":"x"},{"name":"A","price":2,"description":"y"}]"#,
            r#"[{"name":"Ä","price":0.05,"point":-0.5}]"#,
        ] {
            assert!(is_canonical(canonical), "{canonical}");
        }
        for other in [
            "",
            "[ ]",
            "[{}]",
            r#"[{"price":2,"name":"A"}]"#,
            r#"[{"name": "A","price":2}]"#,
            r#"[{"name":"A","price":2,"link":"x"}]"#,
            r#"[{"name":"A\u0041","price":2}]"#,
            r#"[{"name":"A","price":2.50}]"#,
            r#"[{"name":"A","price":2.0}]"#,
            r#"[{"name":"A","price":02}]"#,
            r#"[{"name":"A","price":2.}]"#,
            r#"[{"name":"A","price":.5}]"#,
            r#"[{"name":"A","price":-0}]"#,
            r#"[{"name":"A","price":2e1}]"#,
            r#"[{"name":"A","price":1234567890123456789}]"#,
            r#"[{"name":"A","price":2,"point":null}]"#,
            r#"[{"name":"B","price":2},{"name":"A","price":2}]"#,
            r#"[{"name":"A","price":2},{"name":"A","price":2}]"#,
            r#"[{"name":"A","price":2,"point":10},{"name":"A","price":2,"point":2.5}]"#,
        ] {
            assert!(!is_canonical(other), "{other}");
        }
    }

    fn any_outcome() -> impl Strategy<Value = Outcome> {
        let number = (any::<i16>(), 0u8..4).prop_map(|(mantissa, scale)| Decimal::new(mantissa.into(), scale));
        let text = "[AB\"\\\\ä ]{0,2}";
        (text, number.clone(), proptest::option::of(number), proptest::option::of(text))
            .prop_map(|(name, price, point, description)| Outcome { name, price, point, description })
    }

    proptest! {
        #[test]
        fn only_what_new_would_write_is_canonical(
            outcomes in proptest::collection::vec(any_outcome(), 0..4),
        ) {
            let canonical = Outcomes::new(outcomes.clone());
            let escapes = canonical.as_json().contains('\\');
            prop_assert!(escapes || is_canonical(canonical.as_json()), "{}", canonical.as_json());
            let json = serde_json::to_string(&outcomes).unwrap();
            prop_assert!(!is_canonical(&json) || json == canonical.as_json(), "{json}");
        }
    }
}
