//! Rules: what a user waits for.

use odds::{BookmakerKey, Decimal, EventId, MarketKey, SportKey, Timestamp};

use crate::Regions;

/// What a user waits for, and how the user wants to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The user's own name for it.
    pub name: Option<String>,
    pub kind: Kind,
    pub scope: Scope,
    pub channels: Channels,
    /// The minutes after a firing in which it doesn't fire again. Without them, it fires once and ends.
    pub cooldown_minutes: Option<u32>,
    /// It ends then.
    pub until: Option<Timestamp>,
}

impl Rule {
    /// When it may fire again.
    pub(crate) fn cool_at(&self, fired_at: Timestamp) -> Timestamp {
        cool_at(fired_at, self.cooldown_minutes.unwrap_or(0))
    }
}

/// The end of a cool-down.
pub(crate) fn cool_at(fired_at: Timestamp, cooldown_minutes: u32) -> Timestamp {
    fired_at.plus_millis(i64::from(cooldown_minutes) * 60_000)
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// The best price of an outcome reaches a value.
    Price(Limit),
    /// The consensus of an outcome moved.
    Move {
        /// By how many percentage points its probability changed.
        percent: Decimal,
        /// In how many minutes.
        minutes: u32,
        /// How many bookmakers moved with it.
        bookmakers: u32,
    },
    /// The main point of a market moved by at least this.
    Line { by: Decimal },
    /// The best prices of a market win this much, however it ends.
    Arbitrage { percent: Decimal },
    /// An event starts within this time.
    Starts { minutes: u32 },
    /// A region is stale or down for this time.
    Feed { minutes: u32 },
}

/// From which side a price reaches a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    AtLeast(Decimal),
    AtMost(Decimal),
}

/// What a rule is about. What is absent or empty doesn't limit it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    pub regions: Regions,
    /// Sorted, each once.
    pub bookmakers: Vec<BookmakerKey>,
    pub event: Option<EventId>,
    pub sport: Option<SportKey>,
    /// A part of a team's name, in any case.
    pub team: Option<String>,
    pub market: Option<MarketKey>,
    pub outcome: Option<OutcomeName>,
}

/// What names an outcome in its market. In a rule about a whole sport, what is absent may be anything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutcomeName {
    pub name: String,
    pub point: Option<Decimal>,
    pub description: Option<String>,
}

/// How a user is told of a firing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Page,
    Email,
    Sms,
}

impl Channel {
    pub const ALL: [Self; 3] = [Self::Page, Self::Email, Self::Sms];

    pub fn key(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Email => "email",
            Self::Sms => "sms",
        }
    }
}

/// A set of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels(u8);

impl Channels {
    pub fn contains(self, channel: Channel) -> bool {
        self.0 & (1 << channel as u8) != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Channel> {
        Channel::ALL.into_iter().filter(move |channel| self.contains(*channel))
    }
}

impl FromIterator<Channel> for Channels {
    fn from_iter<I: IntoIterator<Item = Channel>>(channels: I) -> Self {
        Self(channels.into_iter().fold(0, |set, channel| set | 1 << channel as u8))
    }
}

impl Kind {
    pub fn key(&self) -> &'static str {
        match self {
            Self::Price(_) => "price",
            Self::Move { .. } => "move",
            Self::Line { .. } => "line",
            Self::Arbitrage { .. } => "arbitrage",
            Self::Starts { .. } => "starts",
            Self::Feed { .. } => "feed",
        }
    }
}
