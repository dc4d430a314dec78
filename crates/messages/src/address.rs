//! Addresses of people: e-mail addresses and telephone numbers.

use std::{fmt, str::FromStr};

/// The longest e-mail address that SMTP allows.
const EMAIL_LENGTH: usize = 254;
/// How many digits a number has, with its country's code.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// An e-mail address that can be put into a header. Its domain is in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmailAddress(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an e-mail address such as anna@example.com")]
pub struct InvalidEmailAddress;

impl EmailAddress {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EmailAddress {
    type Err = InvalidEmailAddress;

    fn from_str(text: &str) -> Result<Self, InvalidEmailAddress> {
        let text = text.trim();
        let is_plain =
            text.len() <= EMAIL_LENGTH && text.is_ascii() && !text.bytes().any(|it| it <= b' ' || it == 0x7f);
        if !is_plain {
            return Err(InvalidEmailAddress);
        }
        let address: lettre::Address = text.parse().map_err(|_| InvalidEmailAddress)?;
        // A domain without a dot can only be meant for the mail server's own network.
        if !address.domain().contains('.') && address.domain() != "localhost" {
            return Err(InvalidEmailAddress);
        }
        Ok(Self(format!("{}@{}", address.user(), address.domain().to_ascii_lowercase())))
    }
}

/// A telephone number in the form of E.164: a plus, the country's code, and digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhoneNumber(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a number with the country's code, such as +447700900123")]
pub struct InvalidPhoneNumber;

impl PhoneNumber {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PhoneNumber {
    type Err = InvalidPhoneNumber;

    /// Spaces, hyphens, dots and brackets between digits are left out.
    fn from_str(text: &str) -> Result<Self, InvalidPhoneNumber> {
        let rest = text.trim().strip_prefix('+').ok_or(InvalidPhoneNumber)?;
        let digits: String = rest.chars().filter(|it| !" -.()".contains(*it)).collect();
        let is_number =
            DIGITS.contains(&digits.len()) && digits.bytes().all(|it| it.is_ascii_digit()) && !digits.starts_with('0');
        if is_number { Ok(Self(format!("+{digits}"))) } else { Err(InvalidPhoneNumber) }
    }
}

/// Addresses are not written to logs.
impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress(…)")
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PhoneNumber(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_email_address_fits_into_one_header() {
        let address: EmailAddress = " Anna.B+odds@Example.COM ".parse().unwrap();
        assert_eq!(address.as_str(), "Anna.B+odds@example.com");
        assert!(!format!("{address:?}").contains("nna"));
        let long = format!("{}@example.com", "a".repeat(250));
        for text in [
            "",
            "anna",
            "@example.com",
            "anna@",
            "anna@example",
            "a b@example.com",
            "anna@example.com\r\nBcc: eve@example.com",
            "anna@example.com,eve@example.com",
            "Anna <anna@example.com>",
            "änna@example.com",
            &long,
        ] {
            assert_eq!(text.parse::<EmailAddress>(), Err(InvalidEmailAddress), "{text:?}");
        }
    }

    #[test]
    fn a_number_has_its_country() {
        assert_eq!("+44 (7700) 900-123".parse::<PhoneNumber>().unwrap().as_str(), "+447700900123");
        for text in
            ["", "+", "07700900123", "447700900123", "+0447700900123", "+44770090012x", "+123456", "+1234567890123456"]
        {
            assert_eq!(text.parse::<PhoneNumber>(), Err(InvalidPhoneNumber), "{text:?}");
        }
    }
}
