//! Formats of prices, percentages and days.

use std::cell::Cell;

use odds::{Decimal, Timestamp};

const DAY: i64 = 86_400_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OddsFormat {
    #[default]
    Decimal,
    American,
    Fractional,
}

impl OddsFormat {
    pub(crate) const ALL: [Self; 3] = [Self::Decimal, Self::American, Self::Fractional];

    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Decimal => "decimal",
            Self::American => "american",
            Self::Fractional => "fractional",
        }
    }

    pub(crate) fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.key() == key)
    }

    /// Formats a price. A price without a representation in this format is shown as a decimal.
    pub(crate) fn say(self, price: Decimal) -> String {
        let decimal = || fixed(price.to_f64(), 2);
        match self {
            Self::Decimal => decimal(),
            Self::American => price.american().map_or_else(decimal, |odds| format!("{odds:+}")),
            Self::Fractional => {
                price.fractional().map_or_else(decimal, |(for_it, against)| format!("{for_it}/{against}"))
            }
        }
    }
}

pub(crate) fn percent(share: f64) -> String {
    format!("{} %", fixed(share * 100.0, 1))
}

/// Formats a number, rounded to this many decimal places. Uses integers, because the standard library's code for floats
/// would add more to the page than this whole file.
pub(crate) fn fixed(value: f64, places: u32) -> String {
    let unit = 10_i64.pow(places);
    let units = (value * unit as f64).round() as i64;
    let sign = if units < 0 { "-" } else { "" };
    let units = units.abs();
    let point = DECIMAL_POINT.get();
    format!("{sign}{}{point}{:0width$}", units / unit, units % unit, width = places as usize)
}

thread_local!(static DECIMAL_POINT: Cell<char> = const { Cell::new('.') });

/// Sets what separates the decimals of numbers, as is usual where the visitor lives.
pub(crate) fn set_decimal_point(point: char) {
    DECIMAL_POINT.set(point);
}

/// Returns the day of a time as a number, in a time zone that is this many minutes ahead of UTC.
pub(crate) fn day_of(moment: Timestamp, minutes_ahead: i64) -> i64 {
    let millis = moment.millis_since(Timestamp::from_millis(0)) + minutes_ahead * 60_000;
    millis.div_euclid(DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_in_each_format() {
        for (price, decimal, american, fractional) in
            [("2.5", "2.50", "+150", "3/2"), ("1.5", "1.50", "-200", "1/2"), ("2", "2.00", "+100", "1/1")]
        {
            let price = price.parse().unwrap();
            assert_eq!(OddsFormat::Decimal.say(price), decimal);
            assert_eq!(OddsFormat::American.say(price), american);
            assert_eq!(OddsFormat::Fractional.say(price), fractional);
        }
        assert_eq!(percent(-0.0123), "-1.2 %");
        assert_eq!(percent(-0.0003), "0.0 %");
        assert_eq!((fixed(1.999, 2), fixed(1.07, 2), fixed(-0.05, 1)), ("2.00".into(), "1.07".into(), "-0.1".into()));
    }

    #[test]
    fn a_day_begins_at_midnight_of_the_reader() {
        let late: Timestamp = "2026-01-01T23:30:00Z".parse().unwrap();
        assert_eq!(day_of(late, 60), day_of(late, 0) + 1);
        assert_eq!(day_of(late, -60), day_of(late, 0));
    }
}
