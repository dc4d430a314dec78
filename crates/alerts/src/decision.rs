//! What the matcher decides.

use odds::{BookmakerKey, Decimal, EventId, LogPosition, MarketKey, Region, SportKey, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{FiringId, OutcomeName, Regions, Rule, RuleId, regions::ByRegion};

/// The newest step of each region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps(ByRegion<Option<LogPosition>>);

impl Steps {
    pub fn get(&self, region: Region) -> Option<LogPosition> {
        self.0[region]
    }

    pub fn set(&mut self, region: Region, position: LogPosition) {
        self.0[region] = Some(position);
    }

    pub fn iter(&self) -> impl Iterator<Item = (Region, LogPosition)> {
        Region::ALL.into_iter().filter_map(|region| Some((region, self.get(region)?)))
    }

    /// Only the steps of these regions.
    #[must_use]
    pub fn of(self, regions: Regions) -> Self {
        self.iter().filter(|(region, _)| regions.contains(*region)).collect()
    }

    /// The later step of each region.
    #[must_use]
    pub fn join(mut self, others: &Self) -> Self {
        for (region, other) in others.iter() {
            self.set(region, self.get(region).map_or(other, |step| step.max(other)));
        }
        self
    }

    /// Whether no step is before one of `others`. Regions that only one of them knows are not compared.
    pub fn are_not_before(&self, others: &Self) -> bool {
        others.iter().all(|(region, other)| self.get(region).is_none_or(|step| step >= other))
    }

    /// Whether no step is before one of `others`, and at least one is later or of another region.
    pub fn are_after(&self, others: &Self) -> bool {
        self.are_not_before(others) && self.iter().any(|(region, step)| others.get(region).is_none_or(|it| step > it))
    }
}

impl FromIterator<(Region, LogPosition)> for Steps {
    fn from_iter<I: IntoIterator<Item = (Region, LogPosition)>>(steps: I) -> Self {
        let mut all = Self::default();
        steps.into_iter().for_each(|(region, step)| all.set(region, step));
        all
    }
}

impl Serialize for Steps {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Steps {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let steps = std::collections::BTreeMap::<Region, LogPosition>::deserialize(deserializer)?;
        Ok(steps.into_iter().collect())
    }
}

/// What an episode of a rule is about: nothing in particular, or one of many outcomes, events or regions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Subject {
    pub event: Option<EventId>,
    pub outcome: Option<OutcomeName>,
    pub region: Option<Region>,
}

impl Subject {
    /// Its name in ids. Stable, because ids outlive the process.
    pub(crate) fn hash(&self) -> u64 {
        let mut text = String::new();
        let mut part = |part: Option<&str>| {
            text.push_str(part.unwrap_or_default());
            text.push('\n');
        };
        part(self.event.as_ref().map(EventId::as_str));
        part(self.region.map(Region::key));
        if let Some(OutcomeName { name, point, description }) = &self.outcome {
            part(Some(name));
            part(point.map(|point| point.to_string()).as_deref());
            part(description.as_deref());
        }
        xxhash_rust::xxh3::xxh3_64(text.as_bytes()).max(1)
    }
}

/// Where an episode of a rule stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arming {
    pub episode: u32,
    /// Whether the episode has fired. Then the next one begins when the rule is armed again.
    pub fired: bool,
    /// When the rule fired last; 1970 if it never did.
    pub fired_at: Timestamp,
    /// What was measured when it fired or was armed.
    pub level: f64,
    /// The steps at which it fired or was armed.
    pub steps: Steps,
}

/// A rule fires.
#[derive(Clone, Debug, PartialEq)]
pub struct Firing {
    pub id: FiringId,
    /// The time of the step at which it fires.
    pub at: Timestamp,
    /// Whether that time has passed: the prices were live then, and are not known to be live now.
    pub is_late: bool,
    /// Whether the rule ends.
    pub is_last: bool,
    /// Whether the episode begins with this firing, right after the one before.
    pub begins: bool,
    pub level: f64,
    pub steps: Steps,
    pub subject: Subject,
    pub facts: Facts,
}

/// What a user is told about a firing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sport: Option<SportKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sport_title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_team: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away_team: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commence_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub market: Option<MarketKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<Decimal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The best price, for rules about prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Decimal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bookmaker: Option<BookmakerKey>,
    /// The region of the best price, or the one that is not live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// Where the probability, in percent, or the point came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<f64>,
    /// Where it is now; for an arbitrage, the margin in percent; for a start or a feed, the minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

/// Why a rule ended without the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It fired, and was to fire once.
    Fired,
    /// Its event is over.
    EventOver,
    /// Its time is over.
    Expired,
}

impl End {
    pub fn key(self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::EventOver => "event_over",
            Self::Expired => "expired",
        }
    }

    pub fn of_key(key: &str) -> Option<Self> {
        [Self::Fired, Self::EventOver, Self::Expired].into_iter().find(|end| end.key() == key)
    }
}

impl Arming {
    /// The state after this firing.
    pub fn after_firing(recorded: Option<&Self>, firing: &Firing) -> Self {
        let steps = recorded.map_or(firing.steps, |it| firing.steps.join(&it.steps));
        Self { episode: firing.id.episode, fired: true, fired_at: firing.at, level: firing.level, steps }
    }

    /// The state after this arming. The time of the firing before is the recorded one: another owner may have decided
    /// it at another step.
    pub fn after_arming(recorded: Option<&Self>, arming: &Self) -> Self {
        let steps = recorded.map_or(arming.steps, |it| arming.steps.join(&it.steps));
        let fired_at = recorded.map_or(arming.fired_at, |it| it.fired_at);
        Self { steps, fired_at, ..*arming }
    }

    /// Whether this firing may follow what is recorded of its rule and subject.
    pub fn permits_firing(recorded: Option<&Self>, firing: &Firing, rule: &Rule) -> bool {
        let episode = firing.id.episode;
        if recorded.is_some_and(|it| rule.cool_at(it.fired_at) > firing.at) {
            return false;
        }
        match recorded {
            None => episode == 1 && !firing.begins,
            Some(it) if it.fired => {
                firing.begins && it.episode.checked_add(1) == Some(episode) && firing.steps.are_after(&it.steps)
            }
            Some(it) => !firing.begins && it.episode == episode && firing.steps.are_not_before(&it.steps),
        }
    }

    /// Whether this arming may follow what is recorded of its rule and subject.
    pub fn permits_arming(recorded: Option<&Self>, arming: &Self) -> bool {
        match recorded {
            None => arming.episode == 1,
            Some(it) => {
                it.fired && it.episode.checked_add(1) == Some(arming.episode) && arming.steps.are_after(&it.steps)
            }
        }
    }
}

/// What the matcher decided. It must be recorded in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    Fire(Box<Firing>),
    /// The episode in `id` begins.
    Arm {
        id: FiringId,
        arming: Arming,
    },
    End {
        rule: RuleId,
        revision: u32,
        end: End,
    },
}

impl Decision {
    pub fn rule(&self) -> RuleId {
        match self {
            Self::Fire(firing) => firing.id.rule,
            Self::Arm { id, .. } => id.rule,
            Self::End { rule, .. } => *rule,
        }
    }

    pub fn revision(&self) -> u32 {
        match self {
            Self::Fire(firing) => firing.id.revision,
            Self::Arm { id, .. } => id.revision,
            Self::End { revision, .. } => *revision,
        }
    }
}
