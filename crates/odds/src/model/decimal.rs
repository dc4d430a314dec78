//! Decimal numbers as an odds API writes them, parsed and written exactly, without binary fractions. `1.90` and `1.9`
//! are the same number and are both written `1.9`, so equal prices have equal text.

use std::{cmp::Ordering, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;

/// The decimal number `mantissa / 10^scale`. The mantissa has no trailing zero unless the scale is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    mantissa: i64,
    scale: u8,
}

/// With 18 digits every value fits an `i64`.
pub(crate) const MAX_DIGITS: usize = 18;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a decimal number of at most {MAX_DIGITS} digits")]
pub struct InvalidDecimal(pub String);

impl Decimal {
    pub const MAX_SCALE: u8 = 18;

    pub fn new(mantissa: i64, scale: u8) -> Self {
        let mut it = Self { mantissa, scale };
        while it.scale > 0 && it.mantissa % 10 == 0 {
            it.mantissa /= 10;
            it.scale -= 1;
        }
        it
    }

    /// The mantissa and the scale: the number is `mantissa / 10^scale`.
    pub fn parts(self) -> (i64, u8) {
        (self.mantissa, self.scale)
    }

    pub fn to_f64(self) -> f64 {
        // Both are exact up to 2^53, so the quotient is the double nearest to the decimal number.
        self.mantissa as f64 / 10f64.powi(i32::from(self.scale))
    }

    /// Whether these are possible decimal odds: they return more than the stake, and win at most ten thousand times the
    /// stake.
    pub fn is_decimal_odds(self) -> bool {
        Self { mantissa: 1, scale: 0 } < self && self <= Self { mantissa: 10_001, scale: 0 }
    }

    /// The line of the other side: a spread of +3.5 for one team is -3.5 for the other.
    #[must_use]
    pub fn negated(self) -> Self {
        Self { mantissa: -self.mantissa, ..self }
    }

    /// American odds: what a stake of 100 wins (+150), or the stake that wins 100 (-200).
    /// `None` for a price that can't win.
    pub fn american(self) -> Option<i64> {
        let profit = self.to_f64() - 1.0;
        if profit <= 0.0 {
            return None;
        }
        let value = if profit >= 1.0 { profit * 100.0 } else { -100.0 / profit };
        Some(value.round() as i64)
    }

    /// Fractional odds: the customary fraction that rounds to the price (1.91 is 10/11, 1.33 is 1/3), or else the price
    /// itself in lowest terms (3.4 is 12/5). `None` for a price that can't win.
    pub fn fractional(self) -> Option<(u64, u64)> {
        let scale = self.scale.max(2);
        let unit = 10i128.pow(u32::from(scale));
        let profit = i128::from(self.mantissa) * 10i128.pow(u32::from(scale - self.scale)) - unit;
        if profit <= 0 {
            return None;
        }
        let customary = CUSTOMARY.into_iter().find(|&(n, d)| {
            // n / d, rounded half up to the price's last place.
            (2 * i128::from(n) * unit + i128::from(d)).div_euclid(2 * i128::from(d)) == profit
        });
        if customary.is_some() {
            return customary;
        }
        let (profit, unit) = (u64::try_from(profit).ok()?, u64::try_from(unit).ok()?);
        let divisor = greatest_common_divisor(profit, unit);
        Some((profit / divisor, unit / divisor))
    }
}

/// Fractions that bookmakers quote and that two decimal places can't express.
const CUSTOMARY: [(u64, u64); 28] = [
    (1, 33),
    (1, 16),
    (1, 14),
    (1, 12),
    (1, 11),
    (1, 9),
    (2, 15),
    (1, 7),
    (2, 13),
    (1, 6),
    (2, 11),
    (2, 9),
    (2, 7),
    (1, 3),
    (4, 11),
    (4, 9),
    (8, 15),
    (4, 7),
    (8, 13),
    (2, 3),
    (8, 11),
    (5, 6),
    (10, 11),
    (11, 8),
    (13, 8),
    (15, 8),
    (17, 8),
    (10, 3),
];

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

impl FromStr for Decimal {
    type Err = InvalidDecimal;

    /// Parses any JSON number, exponents included, with at most 18 digits.
    fn from_str(text: &str) -> Result<Self, InvalidDecimal> {
        parse(text).ok_or_else(|| InvalidDecimal(text.chars().take(40).collect()))
    }
}

fn parse(text: &str) -> Option<Decimal> {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || (number.contains('.') && fraction.is_empty()) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let digits = whole.trim_start_matches('0').len() + fraction.len();
    if digits > MAX_DIGITS || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let magnitude = whole.bytes().chain(fraction.bytes()).fold(0i64, |sum, byte| sum * 10 + i64::from(byte - b'0'));
    let mut mantissa = if negative { -magnitude } else { magnitude };
    if mantissa == 0 {
        return Some(Decimal { mantissa: 0, scale: 0 });
    }
    let mut scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    while mantissa % 10 == 0 && scale > 0 {
        mantissa /= 10;
        scale -= 1;
    }
    while scale < 0 {
        mantissa = mantissa.checked_mul(10)?;
        scale += 1;
    }
    let scale = u8::try_from(scale).ok().filter(|scale| *scale <= Decimal::MAX_SCALE)?;
    (mantissa.unsigned_abs() < 10u64.pow(MAX_DIGITS as u32)).then_some(Decimal { mantissa, scale })
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scale == 0 {
            return write!(f, "{}", self.mantissa);
        }
        let unit = 10u64.pow(u32::from(self.scale));
        let magnitude = self.mantissa.unsigned_abs();
        let sign = if self.mantissa < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{:0width$}", magnitude / unit, magnitude % unit, width = usize::from(self.scale))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let scale = self.scale.max(other.scale);
        let at = |it: &Self| i128::from(it.mantissa) * 10i128.pow(u32::from(scale - it.scale));
        at(self).cmp(&at(other))
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A raw JSON number: neither quoted nor rounded.
        RawValue::from_string(self.to_string()).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = <&RawValue>::deserialize(deserializer)?;
        number.get().parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn impossible_prices_are_not_decimal_odds() {
        for good in ["1.001", "1.01", "2", "100", "5001", "10001"] {
            assert!(decimal(good).is_decimal_odds(), "{good}");
        }
        for bad in ["0", "1", "1.0", "0.5", "-2", "-110", "10001.1", "1e15"] {
            assert!(!decimal(bad).is_decimal_odds(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_kept_exactly_and_written_canonically() {
        for (read, written) in [
            ("1.91", "1.91"),
            ("1.90", "1.9"),
            ("2", "2"),
            ("2.0", "2"),
            ("100", "100"),
            ("-3.5", "-3.5"),
            ("-0.25", "-0.25"),
            ("-0", "0"),
            ("0.00", "0"),
            ("1e2", "100"),
            ("15E-1", "1.5"),
            ("1.0050", "1.005"),
            ("0.1000000000000000055", "error"),
            ("123456789012345678", "123456789012345678"),
        ] {
            match read.parse::<Decimal>() {
                Ok(value) => assert_eq!(value.to_string(), written),
                Err(_) => assert_eq!(written, "error", "{read}"),
            }
        }
    }

    #[test]
    fn text_that_is_not_a_number_is_an_error() {
        for text in ["", "-", ".", "1.", ".5", "1,5", "NaN", "1e99", "1e-99", "--1", "+1", "1e", "0x10", "１"] {
            assert!(text.parse::<Decimal>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn american_odds() {
        for (price, american) in
            [("2", Some(100)), ("2.5", Some(150)), ("1.5", Some(-200)), ("1.91", Some(-110)), ("1", None), ("0", None)]
        {
            assert_eq!(decimal(price).american(), american, "{price}");
        }
    }

    #[test]
    fn fractional_odds() {
        for (price, fraction) in [
            ("2", Some((1, 1))),
            ("1.91", Some((10, 11))),
            ("1.33", Some((1, 3))),
            ("3.4", Some((12, 5))),
            ("1.5", Some((1, 2))),
            ("101", Some((100, 1))),
            ("1.01", Some((1, 100))),
            ("1.05", Some((1, 20))),
            ("4.33", Some((10, 3))),
            ("4.333", Some((10, 3))),
            ("2.375", Some((11, 8))),
            ("1", None),
            ("0.5", None),
        ] {
            assert_eq!(decimal(price).fractional(), fraction, "{price}");
        }
    }

    proptest! {
        #[test]
        fn a_number_survives_json(mantissa in -999_999_999i64..999_999_999, scale in 0u8..8) {
            let value = Decimal::new(mantissa, scale);
            let json = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(serde_json::from_str::<Decimal>(&json).unwrap(), value);
            prop_assert_eq!(json.parse::<f64>().unwrap(), value.to_f64());
        }

        #[test]
        fn the_fraction_rounds_to_the_price(hundredths in 101i64..50_000) {
            let (n, d) = Decimal::new(hundredths, 2).fractional().unwrap();
            let price = 1.0 + n as f64 / d as f64;
            prop_assert!((price * 100.0 - hundredths as f64).abs() <= 0.5 + 1e-6);
        }

        #[test]
        fn order_is_that_of_the_numbers(a in -9999i64..9999, b in -9999i64..9999, s in 0u8..4, t in 0u8..4) {
            let (x, y) = (Decimal::new(a, s), Decimal::new(b, t));
            prop_assert_eq!(x.cmp(&y), x.to_f64().partial_cmp(&y.to_f64()).unwrap());
            prop_assert_eq!(x == y, x.to_f64() == y.to_f64());
        }
    }
}
