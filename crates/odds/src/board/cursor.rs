//! Cursors: which state of the board a client has, under which filter.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Digest, Filter};
use crate::{StepId, Term, model::plain};

/// A verified step, the board's digest after it, and the filter that it was made under. Opaque to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    pub(crate) id: StepId,
    pub(crate) digest: Digest,
    filter: Option<Digest>,
}

impl Cursor {
    pub fn new(id: StepId, digest: Digest, filter: &Filter) -> Self {
        Self { id, digest, filter: filter.fingerprint() }
    }

    pub fn fits(&self, filter: &Filter) -> bool {
        self.filter == filter.fingerprint()
    }

    pub fn step(&self) -> StepId {
        self.id
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.id.term, self.id.step, self.digest)?;
        self.filter.map_or(Ok(()), |filter| write!(f, "-{filter}"))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct InvalidCursor;

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let mut parts = text.split('-');
        let mut next = || parts.next().ok_or(InvalidCursor);
        let term: Term = next()?.parse().map_err(|()| InvalidCursor)?;
        let step = plain(next()?).map_err(|()| InvalidCursor)?;
        let digest = next()?.parse().map_err(|()| InvalidCursor)?;
        let filter = parts.next().map(str::parse).transpose().map_err(|()| InvalidCursor)?;
        if parts.next().is_some() {
            return Err(InvalidCursor);
        }
        Ok(Self { id: StepId::new(term, step), digest, filter })
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let narrow = Filter { sports: Some(Default::default()), ..Filter::default() };
        for filter in [Filter::default(), narrow] {
            let cursor = Cursor::new(StepId::new(Term::new(12, 3), 4), Digest::of(&[b"x"]), &filter);
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
            assert!(cursor.fits(&filter));
        }
    }

    #[test]
    fn text_that_is_not_a_cursor_is_an_error() {
        let digest = "99aa06d3014798d86001c324468d497f";
        for text in ["", "-", "1.2-3", "1.2-3-zz", &format!("1.2-3-{digest}-"), "a.b-c-d-e-f"] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text}");
        }
        for text in ["01.2-3", "1.02-3", "1.2-03", "+1.2-3"] {
            assert_eq!(
                format!("{text}-{digest}").parse::<Cursor>(),
                Err(InvalidCursor),
                "{text}: only one spelling is valid"
            );
        }
    }
}
