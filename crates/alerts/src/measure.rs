//! What rules measure, and the numbers at which they fire and are armed again.
//!
//! Every measure is put so that a rule fires when it is *at least* the rule's threshold: for a price that has to fall,
//! both are negative.

use std::{collections::BTreeMap, sync::Arc};

use market::{Line, Move, best_price, main_line};
use odds::{BookmakerKey, Decimal, EventId, MarketKey, Region, SportKey};

use crate::{
    Facts, Kind, Limit, OutcomeName, Regions, Rule, Subject,
    market_now::{Chosen, MarketNow, QuoteNow},
    sight::Sight,
};

/// A price is back on the other side when it is this far from the value, as a share of it.
const PRICE_MARGIN: f64 = 0.01;
/// A movement or an arbitrage is over when it is this share of what the rule waits for.
const REMAINDER: f64 = 0.5;
/// A start is off when it is this many minutes further away.
const START_MARGIN: f64 = 5.0;
/// A feed is well again when it was live for this many minutes.
const WELL_AFTER: f64 = 1.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Measure {
    BestPrice,
    /// The best price, negative, because it has to fall.
    FallingPrice,
    /// By how many percentage points the consensus moved.
    Move {
        minutes: u32,
        bookmakers: u32,
    },
    MainPoint,
    Arbitrage,
    /// The minutes until the start, negative.
    Start,
    /// The minutes without a live feed; negative, the minutes with one.
    Feed,
}

/// Rules with the same key measure the same, and differ only in their thresholds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GroupKey {
    pub(crate) measure: Measure,
    pub(crate) regions: Regions,
    /// All, if there are none.
    pub(crate) bookmakers: Option<Arc<[BookmakerKey]>>,
    pub(crate) place: Place,
    pub(crate) market: Option<MarketKey>,
    pub(crate) outcome: Option<Arc<OutcomeName>>,
    /// In lower case.
    pub(crate) team: Option<Arc<str>>,
}

/// Where rules are looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Event(EventId),
    Sport(SportKey),
    Regions,
}

/// When a rule fires and is armed again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Threshold {
    pub(crate) fires_at: f64,
    pub(crate) armed_at: f64,
}

/// What was measured of one subject.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) subject: Subject,
    pub(crate) level: f64,
    /// Whether enough is known to say that a threshold is reached,
    pub(crate) may_fire: bool,
    /// and that it is not.
    pub(crate) may_arm: bool,
    pub(crate) facts: Facts,
}

impl GroupKey {
    pub(crate) fn of(rule: &Rule) -> Self {
        let scope = &rule.scope;
        let place = match (&scope.event, &scope.sport) {
            (Some(event), _) => Place::Event(event.clone()),
            (None, Some(sport)) => Place::Sport(sport.clone()),
            (None, None) => Place::Regions,
        };
        let measure = match rule.kind {
            Kind::Price(Limit::AtLeast(_)) => Measure::BestPrice,
            Kind::Price(Limit::AtMost(_)) => Measure::FallingPrice,
            Kind::Move { minutes, bookmakers, .. } => Measure::Move { minutes, bookmakers },
            Kind::Line { .. } => Measure::MainPoint,
            Kind::Arbitrage { .. } => Measure::Arbitrage,
            Kind::Starts { .. } => Measure::Start,
            Kind::Feed { .. } => Measure::Feed,
        };
        Self {
            measure,
            regions: scope.regions,
            bookmakers: (!scope.bookmakers.is_empty()).then(|| scope.bookmakers.clone().into()),
            place,
            market: scope.market.clone(),
            outcome: scope.outcome.clone().map(Arc::new),
            team: scope.team.as_ref().map(|team| team.to_lowercase().into()),
        }
    }

    /// Whether its rules are about one event, or one outcome of it.
    pub(crate) fn has_one_subject(&self) -> bool {
        matches!(self.place, Place::Event(_))
    }

    /// Everything that the group's rules look at in this market.
    pub(crate) fn readings(&self, sight: &mut Sight<'_>) -> Vec<Reading> {
        let now = sight.now;
        if self.team.as_ref().is_some_and(|team| !MarketNow::has_team(&now.details, team)) {
            return Vec::new();
        }
        let selection = (self.regions, self.bookmakers.clone());
        let chosen = sight.chosen(&selection);
        if chosen.is_empty() {
            return Vec::new();
        }
        match self.measure {
            Measure::BestPrice | Measure::FallingPrice => self.prices(now, &chosen),
            Measure::Move { minutes, bookmakers } => {
                self.moves(now, &chosen, &sight.moves(&selection, minutes), bookmakers as usize)
            }
            Measure::MainPoint => self.main_point(now, &chosen, &sight.lines(&selection)).into_iter().collect(),
            Measure::Arbitrage => self.arbitrage(now, &chosen, &sight.lines(&selection)).into_iter().collect(),
            Measure::Start | Measure::Feed => Vec::new(),
        }
    }

    /// Whether the group is about this outcome.
    fn admits(&self, outcome: &OutcomeName) -> bool {
        match (&self.outcome, &self.place) {
            (None, _) => true,
            (Some(wanted), Place::Event(_)) => **wanted == *outcome,
            (Some(wanted), _) => wanted.admits(outcome),
        }
    }

    fn subject(&self, now: &MarketNow, outcome: Option<OutcomeName>) -> Subject {
        Subject { event: Some(now.event.clone()), outcome, region: None }
    }

    fn prices<'a>(&self, now: &MarketNow, chosen: &Chosen<'a>) -> Vec<Reading> {
        let reading = |outcome: OutcomeName, prices: &[(&BookmakerKey, Region, Decimal)]| {
            let best = best_price(prices.iter().map(|(bookmaker, _, price)| (*bookmaker, *price)));
            let (bookmaker, price) = best.expect("there is a price");
            let region = prices.iter().find(|it| it.0 == bookmaker).map(|it| it.1);
            let rises = self.measure == Measure::BestPrice;
            let facts = Facts { price: Some(price), bookmaker: Some(bookmaker.clone()), region, ..Facts::default() };
            Reading {
                facts: facts.about(now, Some(&outcome)),
                subject: self.subject(now, Some(outcome)),
                level: if rises { price.to_f64() } else { -price.to_f64() },
                // A price that is not known can only be better.
                may_fire: rises || chosen.is_complete,
                may_arm: !rises || chosen.is_complete,
            }
        };
        if let (Some(wanted), true) = (&self.outcome, self.has_one_subject()) {
            let price = |(bookmaker, quote): (&&'a BookmakerKey, &&'a QuoteNow)| {
                let outcome = quote.outcomes.iter().find(|outcome| wanted.names(outcome))?;
                Some((*bookmaker, quote.region, outcome.price))
            };
            let prices: Vec<_> = chosen.quotes.iter().filter_map(price).collect();
            return if prices.is_empty() { Vec::new() } else { vec![reading((**wanted).clone(), &prices)] };
        }
        let mut by_outcome: BTreeMap<(&str, Option<Decimal>, Option<&str>), Vec<_>> = BTreeMap::new();
        for (bookmaker, quote) in &chosen.quotes {
            for outcome in &quote.outcomes {
                by_outcome.entry(outcome.identity()).or_default().push((*bookmaker, quote.region, outcome.price));
            }
        }
        let named = by_outcome.into_iter().map(|((name, point, description), prices)| {
            let outcome = OutcomeName { name: name.into(), point, description: description.map(str::to_owned) };
            (outcome, prices)
        });
        named.filter(|(outcome, _)| self.admits(outcome)).map(|(outcome, prices)| reading(outcome, &prices)).collect()
    }

    fn moves(&self, now: &MarketNow, chosen: &Chosen<'_>, moves: &[Move], bookmakers: usize) -> Vec<Reading> {
        let named = moves.iter().map(|it| {
            let name = OutcomeName { name: it.name.clone(), point: it.point, description: it.description.clone() };
            (name, it)
        });
        let reading = |(name, it): (OutcomeName, &Move)| {
            let (from, value) = (Some(rounded(it.before * 100.0)), Some(rounded(it.now * 100.0)));
            let points = (it.change() * 100.0).abs();
            Reading {
                facts: Facts { from, value, ..Facts::default() }.about(now, Some(&name)),
                subject: self.subject(now, Some(name)),
                level: if it.moved_with >= bookmakers { points } else { 0.0 },
                may_fire: true,
                may_arm: chosen.is_complete,
            }
        };
        named.filter(|(name, _)| self.admits(name)).map(reading).collect()
    }

    fn main_point(&self, now: &MarketNow, chosen: &Chosen<'_>, lines: &[Line]) -> Option<Reading> {
        let point = main_line(lines)?.point?.to_f64();
        Some(Reading {
            facts: Facts { value: Some(point), ..Facts::default() }.about(now, None),
            subject: self.subject(now, None),
            level: point,
            // The main point is that of most bookmakers, so all must be known.
            may_fire: chosen.is_complete,
            may_arm: chosen.is_complete,
        })
    }

    fn arbitrage(&self, now: &MarketNow, chosen: &Chosen<'_>, lines: &[Line]) -> Option<Reading> {
        let margins = lines.iter().filter_map(|line| Some((line.win_at_best_prices()? * 100.0, line)));
        let (margin, line) = margins.max_by(|a, b| a.0.total_cmp(&b.0))?;
        let facts = Facts { value: Some(rounded(margin)), point: line.point, ..Facts::default() }.about(now, None);
        let subject = self.subject(now, None);
        Some(Reading { facts, subject, level: margin, may_fire: true, may_arm: chosen.is_complete })
    }
}

/// Rounds to a thousandth, for people.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

impl Threshold {
    pub(crate) fn of(kind: &Kind) -> Self {
        let new = |fires_at, armed_at| Self { fires_at, armed_at };
        match *kind {
            Kind::Price(Limit::AtLeast(price)) => new(price.to_f64(), price.to_f64() * (1.0 - PRICE_MARGIN)),
            Kind::Price(Limit::AtMost(price)) => new(-price.to_f64(), -price.to_f64() * (1.0 + PRICE_MARGIN)),
            Kind::Move { percent, .. } | Kind::Arbitrage { percent } => {
                new(percent.to_f64(), percent.to_f64() * REMAINDER)
            }
            Kind::Line { by } => new(by.to_f64(), by.to_f64()),
            Kind::Starts { minutes } => new(-f64::from(minutes), -f64::from(minutes) - START_MARGIN),
            Kind::Feed { minutes } => new(f64::from(minutes), -WELL_AFTER),
        }
    }
}

impl Facts {
    /// Whether these are facts about the same outcome, or the same event.
    pub(crate) fn is_about_same(&self, other: &Self) -> bool {
        let outcome = |it: &Self| it.outcome.as_ref().map(|name| (name.clone(), it.point, it.description.clone()));
        self.event == other.event && outcome(self) == outcome(other)
    }

    /// With the event, the market and the outcome.
    pub(crate) fn about(self, now: &MarketNow, outcome: Option<&OutcomeName>) -> Self {
        Self {
            market: Some(now.market.clone()),
            outcome: outcome.map(|it| it.name.clone()),
            point: outcome.and_then(|it| it.point).or(self.point),
            description: outcome.and_then(|it| it.description.clone()),
            ..self.about_event(&now.event, &now.details)
        }
    }

    pub(crate) fn about_event(self, event: &EventId, details: &odds::Details) -> Self {
        Self {
            event: Some(event.clone()),
            sport: Some(details.sport_key.clone()),
            sport_title: Some(details.sport_title.clone()),
            home_team: details.home_team.clone(),
            away_team: details.away_team.clone(),
            commence_time: Some(details.commence_time),
            ..self
        }
    }
}
