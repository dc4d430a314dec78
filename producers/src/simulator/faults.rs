//! Faults that the simulator injects on demand, into the next answers or into a share of all answers.

use std::collections::VecDeque;

use rand::RngExt;
use serde::Deserialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// 429 without Retry-After.
    TooFast,
    /// 502 with a body that is not JSON.
    ServerError,
    /// A correct answer, fifteen seconds late.
    Slow,
    /// An answer that ends after half of its body.
    CutOff,
    /// 200 with a page of HTML.
    Garbage,
    /// 200 with an empty list.
    Empty,
}

const ALL: [Fault; 6] = [Fault::TooFast, Fault::ServerError, Fault::Slow, Fault::CutOff, Fault::Garbage, Fault::Empty];

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// The faults of the next answers, each used once.
    next: VecDeque<Fault>,
    /// The share of later answers that fail. Their faults are drawn from `kinds`, or from all kinds if it is empty.
    rate: f64,
    kinds: Vec<Fault>,
}

impl Faults {
    pub fn none() -> Self {
        Self::default()
    }

    pub fn at_rate(rate: f64) -> Self {
        Self { rate, ..Self::default() }
    }

    pub(super) fn next(&mut self) -> Option<Fault> {
        if let Some(fault) = self.next.pop_front() {
            return Some(fault);
        }
        let mut random = rand::rng();
        let kinds = if self.kinds.is_empty() { &ALL[..] } else { &self.kinds };
        random.random_bool(self.rate.clamp(0.0, 1.0)).then(|| kinds[random.random_range(0..kinds.len())])
    }
}
