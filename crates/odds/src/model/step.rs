//! Terms and steps: the order of everything that is written to a region's topic.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// One leader's time at the head of a region. A greater term overrides all lower ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Term {
    /// When it began, in milliseconds since 1970, or one more than the greatest term seen before.
    at: u64,
    /// Random, so that the terms of two leaders that begin in the same millisecond differ.
    tie: u32,
}

impl Term {
    pub const fn new(at: u64, tie: u32) -> Self {
        Self { at, tie }
    }

    /// How far a term may be above the greatest one read before it in its partition: a hundred years, counted from 1970
    /// if there is none. Without this limit, a forged term close to the maximum would leave no term for a leader.
    pub const MAX_ADVANCE: u64 = 100 * 365 * 24 * 3_600 * 1_000;

    /// Whether a record of this term may come after one of term `accepted`.
    pub(crate) fn is_plausible_after(self, accepted: Self) -> bool {
        self.at <= accepted.at.saturating_add(Self::MAX_ADVANCE)
    }

    /// A term that begins now and is above `greatest`, even if the clock is behind.
    #[must_use]
    pub fn after(greatest: Self, now: Timestamp, tie: u32) -> Self {
        let now = u64::try_from(now.as_millis()).unwrap_or(0);
        Self { at: now.max(greatest.at.saturating_add(1)), tie }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at, self.tie)
    }
}

impl FromStr for Term {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (at, tie) = text.split_once('.').ok_or(())?;
        Ok(Self { at: plain(at)?, tie: plain(tie)?.try_into().map_err(|_| ())? })
    }
}

/// Parses a number in its only valid spelling: digits without sign, space or leading zero.
pub(crate) fn plain(text: &str) -> Result<u64, ()> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits && (text == "0" || !text.starts_with('0')) { text.parse().map_err(|_| ()) } else { Err(()) }
}

/// A term, and the number of a step in it. Step 0 is the term's fence; odds begin at step 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId {
    pub term: Term,
    pub step: u64,
}

impl StepId {
    /// How far a step may be above the highest one read before it in its partition. Compaction leaves gaps, but none as
    /// long as a century of a thousand steps a second.
    pub const MAX_ADVANCE: u64 = 1 << 42;

    /// Whether a record of this step may come after one of step `accepted`.
    pub(crate) fn is_plausible_after(self, accepted: Self) -> bool {
        let before = if self.term == accepted.term { accepted.step } else { 0 };
        self.term.is_plausible_after(accepted.term) && self.step <= before.saturating_add(Self::MAX_ADVANCE)
    }

    /// The next step of the same term.
    #[must_use]
    pub fn next(self) -> Self {
        Self { term: self.term, step: self.step.saturating_add(1) }
    }

    pub const fn new(term: Term, step: u64) -> Self {
        Self { term, step }
    }

    /// Bytes whose order is that of steps.
    pub fn to_be_bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&self.term.at.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.term.tie.to_be_bytes());
        bytes[12..].copy_from_slice(&self.step.to_be_bytes());
        bytes
    }

    pub fn from_be_bytes(bytes: [u8; 20]) -> Self {
        let (at, rest) = bytes.split_at(8);
        let (tie, step) = rest.split_at(4);
        let at = u64::from_be_bytes(at.try_into().expect("8 bytes"));
        let tie = u32::from_be_bytes(tie.try_into().expect("4 bytes"));
        Self::new(Term { at, tie }, u64::from_be_bytes(step.try_into().expect("8 bytes")))
    }

    pub const fn is_fence(self) -> bool {
        self.step == 0
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.term, self.step)
    }
}

impl FromStr for StepId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (term, step) = text.split_once('/').ok_or(())?;
        Ok(Self { term: term.parse()?, step: plain(step)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_term_is_above_all_seen_even_with_the_clock_behind() {
        let seen = Term::new(5_000, 7);
        assert!(Term::after(seen, Timestamp::from_millis(1_000), 0) > seen);
        assert!(Term::after(seen, Timestamp::from_millis(9_000), 0) > seen);
        assert_eq!(Term::after(seen, Timestamp::from_millis(9_000), 3), Term::new(9_000, 3));
    }

    #[test]
    fn steps_that_no_leader_can_have_written_are_not_plausible() {
        let accepted = StepId::new(Term::new(1_790_000_000_000, 7), 40);
        let later = |years: u64, step| StepId::new(Term::new(accepted.term.at + years * 31_536_000_000, 0), step);
        assert!(accepted.is_plausible_after(StepId::default()));
        assert!(accepted.next().is_plausible_after(accepted));
        assert!(later(99, 0).is_plausible_after(accepted));
        assert!(!later(101, 0).is_plausible_after(accepted));
        assert!(!later(1, u64::MAX).is_plausible_after(accepted));
        assert!(!StepId::new(accepted.term, u64::MAX).is_plausible_after(accepted));
        assert!(!StepId::new(Term::new(u64::MAX, u32::MAX), 0).is_plausible_after(StepId::default()));
        let last = StepId::new(Term::new(u64::MAX, 0), u64::MAX);
        assert_eq!(last.next(), last, "nothing overflows");
        assert!(last.is_plausible_after(last));
    }

    #[test]
    fn a_step_is_read_as_it_was_written() {
        let step = StepId::new(Term::new(1_790_000_000_000, 77), 5);
        assert_eq!(step.to_string().parse(), Ok(step));
        assert_eq!(StepId::from_be_bytes(step.to_be_bytes()), step);
        assert!(StepId::new(Term::new(256, 0), 0).to_be_bytes() > StepId::new(Term::new(255, 9), 9).to_be_bytes());
        for bad in ["", "1.2", "1.2/", "/5", "1/5", "1.2/05", "1.2/-5"] {
            assert!(bad.parse::<StepId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_term_is_read_as_it_was_written() {
        let term = Term::new(1_790_000_000_000, 77);
        assert_eq!(term.to_string().parse(), Ok(term));
        for bad in ["", "1", "1.", ".1", "-1.1", "1.-1", "1.99999999999", "1.1.1", "+1.1"] {
            assert!(bad.parse::<Term>().is_err(), "{bad}");
        }
    }
}
