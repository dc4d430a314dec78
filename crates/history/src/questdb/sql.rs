//! Values in statements. `/exec` has no bind variables, so this is the only place where a value becomes part of a
//! statement.

use std::fmt::Display;

use odds::Timestamp;

/// A string literal. The server doubles quotes and has no other escapes.
pub(super) fn quoted(value: impl Display) -> String {
    format!("'{}'", value.to_string().replace('\'', "''"))
}

/// A time as the server counts it: in microseconds.
pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_millis() * 1_000
}

/// The time of a row.
pub(super) fn time(micros: i64) -> Timestamp {
    Timestamp::from_millis(micros.div_euclid(1_000))
}

/// Times for `IN (…)`, which must have some.
pub(super) fn list(times: impl IntoIterator<Item = Timestamp>) -> String {
    let times: Vec<String> = times.into_iter().map(|at| micros(at).to_string()).collect();
    times.join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a literal as the server does. Returns what it means, and what comes after it.
    fn literal(text: &str) -> Option<(String, &str)> {
        let mut rest = text.strip_prefix('\'')?;
        let mut value = String::new();
        loop {
            let (before, after) = rest.split_once('\'')?;
            value.push_str(before);
            match after.strip_prefix('\'') {
                Some(more) => {
                    value.push('\'');
                    rest = more;
                }
                None => return Some((value, after)),
            }
        }
    }

    proptest! {
        #[test]
        fn a_literal_means_its_value_and_ends_where_it_ends(value in "['\\\\\"a%\u{0}\n;é-]{0,20}", after in "[^']{0,5}") {
            let statement = format!("{}{after}", quoted(&value));
            prop_assert_eq!(literal(&statement), Some((value, after.as_str())));
        }
    }
}
