//! Every crossing of rules over one region, computed from the steps that a plain reader of the topic saw. It shares
//! nothing with the matcher: it looks at every rule of a market whenever the market changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use alerts::{Kind, Limit, Rule, RuleId};
use market::{Line, lines_of, main_line, moves};
use odds::{
    Board, BookmakerKey, Change, Decimal, Details, EventId, FeedState, Marker, MarketKey, Outcome, REPLAYED, Region,
    SportKey, Timestamp,
};

const MINUTE_MS: i64 = 60_000;
/// A price is away from a value when it is this far on the other side, as a share of it.
const PRICE_MARGIN: f64 = 0.01;
/// A movement or an arbitrage is over at this share of what the rule waits for.
const REMAINDER: f64 = 0.5;

/// What names an outcome: its name, its point and its description.
pub type OutcomeId = (String, Option<Decimal>, Option<String>);

/// What a rule fires for: an event, or an outcome of it.
pub type Subject = (EventId, Option<OutcomeId>);

/// An episode of a rule that fires.
#[derive(Clone, Debug, PartialEq)]
pub struct Crossing {
    pub rule: RuleId,
    pub subject: Subject,
    pub episode: u32,
    /// The time of the step.
    pub at: Timestamp,
    /// What was measured.
    pub value: f64,
}

/// The rules over one region, and what they crossed so far.
#[derive(Debug)]
pub struct Crossings {
    region: Region,
    rules: BTreeMap<RuleId, Watched>,
    episodes: HashMap<(RuleId, Subject), Episode>,
    /// The markets that changed while their prices were not live.
    unsettled: BTreeSet<(EventId, MarketKey)>,
    /// The quotes of each market after each of its changes.
    past: HashMap<(EventId, MarketKey), Vec<(Timestamp, Quotes)>>,
    /// Since when each sport's prices have been live, and until when by the newest marker.
    live: HashMap<SportKey, (Timestamp, Timestamp)>,
    pub found: Vec<Crossing>,
}

type Quotes = BTreeMap<BookmakerKey, Vec<Outcome>>;

#[derive(Debug)]
struct Watched {
    rule: Rule,
    /// Only later steps count. Until it is known, only the values are noted.
    edited_at: Option<Timestamp>,
    /// Whether its market must be looked at although it didn't change since the rule was made.
    is_new: bool,
    has_ended: bool,
}

#[derive(Clone, Debug)]
struct Episode {
    number: u32,
    armed: bool,
    fired_at: Option<Timestamp>,
    /// The value before.
    last: Option<f64>,
    /// What a point is compared with.
    base: Option<f64>,
}

impl Default for Episode {
    fn default() -> Self {
        Self { number: 1, armed: true, fired_at: None, last: None, base: None }
    }
}

/// A market at one step.
struct Seen<'a> {
    event: &'a EventId,
    market: &'a MarketKey,
    details: &'a Details,
    quotes: &'a Quotes,
    at: Timestamp,
}

impl Crossings {
    pub fn new(region: Region) -> Self {
        Self {
            region,
            rules: BTreeMap::new(),
            episodes: HashMap::new(),
            unsettled: BTreeSet::new(),
            past: HashMap::new(),
            live: HashMap::new(),
            found: Vec::new(),
        }
    }

    /// Watches a rule over the region. Its values are noted from now on, and it counts from its edit on.
    pub fn watch(&mut self, id: RuleId, rule: Rule) {
        let is_new = rule.scope.event.is_some();
        self.rules.insert(id, Watched { rule, edited_at: None, is_new, has_ended: false });
    }

    /// The rule is made at this time. No step after it may have been read.
    pub fn begin(&mut self, id: RuleId, at: Timestamp) {
        if let Some(watched) = self.rules.get_mut(&id) {
            watched.edited_at = Some(at);
        }
    }

    /// Evaluates the rules that a step concerns, on the board after it.
    pub fn step(&mut self, board: &Board, changes: &[Change], is_whole: bool, marker: &Marker) {
        let at = marker.at;
        self.note_live(marker);
        self.note_quotes(board, changes, is_whole, at);
        let mut concerned: BTreeSet<(EventId, MarketKey)> = changes
            .iter()
            .flat_map(|change| change.quotes().iter().map(|quote| (change.id().clone(), quote.market.clone())))
            .collect();
        let is_live = |event: &EventId| board.details(event).map(|details| is_sport_live(marker, &details.sport_key));
        concerned.extend(self.unsettled.extract_if(.., |(event, _)| is_live(event) != Some(false)));
        for (event, market) in concerned {
            match is_live(&event) {
                Some(true) => self.evaluate(board, &event, &market, at, None),
                Some(false) => drop(self.unsettled.insert((event, market))),
                None => {}
            }
        }
        self.look_at_new_rules(board, marker);
    }

    /// A price that is there already when a rule is made counts, at the first live step.
    fn look_at_new_rules(&mut self, board: &Board, marker: &Marker) {
        let is_due = |watched: &Watched| watched.is_new && watched.edited_at.is_some_and(|edited| marker.at > edited);
        let due: Vec<RuleId> = self.rules.iter().filter(|(_, it)| is_due(it)).map(|(id, _)| *id).collect();
        for id in due {
            let watched = &self.rules[&id];
            let scope = watched.rule.scope.clone();
            let Some((event, market)) = scope.event.zip(scope.market) else { continue };
            if board.details(&event).is_none_or(|details| is_sport_live(marker, &details.sport_key)) {
                self.rules.get_mut(&id).expect("it was just found").is_new = false;
                self.evaluate(board, &event, &market, marker.at, Some(id));
            }
        }
    }

    fn note_live(&mut self, marker: &Marker) {
        let before = std::mem::take(&mut self.live);
        for (sport, freshness) in &marker.sports {
            if is_sport_live(marker, sport) {
                let unbroken = before.get(sport).filter(|(_, until)| *until >= marker.at);
                let since = unbroken.map_or(marker.at, |(since, _)| *since);
                self.live.insert(sport.clone(), (since, freshness.stale_after.min(marker.next_by)));
            }
        }
    }

    fn note_quotes(&mut self, board: &Board, changes: &[Change], is_whole: bool, at: Timestamp) {
        let mut changed: BTreeSet<(EventId, MarketKey)> = BTreeSet::new();
        for change in changes {
            let markets = change.quotes().iter().map(|quote| quote.market.clone());
            changed.extend(markets.map(|market| (change.id().clone(), market)));
            if let Change::Removed { id } = change {
                changed.extend(self.past.keys().filter(|(event, _)| event == id).cloned());
            }
        }
        if is_whole {
            changed.extend(self.past.keys().cloned());
        }
        for (event, market) in changed {
            let quotes = quotes_of(board, &event, &market);
            self.past.entry((event, market)).or_default().push((at, quotes));
        }
    }

    /// Looks at the rules about a market, or only at one of them.
    fn evaluate(&mut self, board: &Board, event: &EventId, market: &MarketKey, at: Timestamp, only: Option<RuleId>) {
        let Some(details) = board.details(event) else { return };
        let quotes = quotes_of(board, event, market);
        let seen = Seen { event, market, details, quotes: &quotes, at };
        let is_about = |rule: &Rule| {
            let scope = &rule.scope;
            let place = scope.event.as_ref().map_or(scope.sport.as_ref() == Some(&details.sport_key), |it| it == event);
            place && scope.market.as_ref() == Some(market) && scope.regions.contains(self.region)
        };
        let about: Vec<RuleId> = self
            .rules
            .iter()
            .filter(|(id, watched)| only.is_none_or(|only| **id == only) && is_about(&watched.rule))
            .map(|(id, _)| *id)
            .collect();
        for id in about {
            for (outcome, value) in self.values(&self.rules[&id].rule, &seen) {
                self.compare(id, (event.clone(), outcome), value, at);
            }
        }
    }

    fn compare(&mut self, id: RuleId, subject: Subject, value: f64, at: Timestamp) {
        let watched = self.rules.get_mut(&id).expect("it was just found");
        let episode = self.episodes.entry((id, subject.clone())).or_default();
        let before = episode.last.replace(value);
        let counts = watched.edited_at.is_some_and(|edited| at > edited);
        if watched.has_ended || !counts {
            return;
        }
        let cooldown = watched.rule.cooldown_minutes;
        let cool_at = |fired: Timestamp| fired.plus_millis(i64::from(cooldown.unwrap_or(0)) * MINUTE_MS);
        let is_cool = episode.fired_at.is_none_or(|fired| cool_at(fired) <= at);
        let fires = match watched.rule.kind {
            Kind::Line { by } => {
                let from = *episode.base.get_or_insert(before.unwrap_or(value));
                let fires = (value - from).abs() >= by.to_f64() && is_cool;
                if fires {
                    episode.base = Some(value);
                }
                fires
            }
            ref kind => {
                let (reached, back) = sides(kind, value);
                if !episode.armed && back {
                    episode.armed = true;
                    episode.number += 1;
                }
                // In a sport, a price that is there already doesn't count: it must cross the value.
                let is_first = episode.number == 1;
                let was_below = before.is_some_and(|before| !sides(kind, before).0);
                let crosses = watched.rule.scope.event.is_some() || !is_first || was_below;
                let fires = episode.armed && reached && crosses && is_cool;
                if fires {
                    episode.armed = false;
                }
                fires
            }
        };
        if fires {
            episode.fired_at = Some(at);
            self.found.push(Crossing { rule: id, subject, episode: episode.number, at, value });
            if matches!(watched.rule.kind, Kind::Line { .. }) {
                // The next one begins at once.
                episode.number += 1;
            }
            watched.has_ended = cooldown.is_none();
        }
    }

    /// What a rule looks at in a market.
    fn values(&self, rule: &Rule, seen: &Seen<'_>) -> Vec<(Option<OutcomeId>, f64)> {
        let is_chosen =
            |bookmaker: &BookmakerKey| rule.scope.bookmakers.is_empty() || rule.scope.bookmakers.contains(bookmaker);
        let chosen: Quotes =
            seen.quotes.iter().filter(|(it, _)| is_chosen(it)).map(|(it, all)| (it.clone(), all.clone())).collect();
        let is_wanted = |outcome: &OutcomeId| {
            let scope = &rule.scope;
            scope
                .outcome
                .as_ref()
                .is_none_or(|it| (&it.name, it.point, &it.description) == (&outcome.0, outcome.1, &outcome.2))
        };
        let lines = |quotes: &Quotes| -> Vec<Line> {
            lines_of(seen.details, quotes.iter().map(|(bookmaker, all)| (bookmaker, seen.market, all.clone())))
        };
        match rule.kind {
            Kind::Price(_) => {
                let mut best: BTreeMap<OutcomeId, f64> = BTreeMap::new();
                for outcome in chosen.values().flatten() {
                    let id = (outcome.name.clone(), outcome.point, outcome.description.clone());
                    let price = outcome.price.to_f64();
                    best.entry(id).and_modify(|best| *best = best.max(price)).or_insert(price);
                }
                best.into_iter().filter(|(id, _)| is_wanted(id)).map(|(id, price)| (Some(id), price)).collect()
            }
            Kind::Line { .. } => {
                let point = main_line(&lines(&chosen)).and_then(|line| line.point);
                point.map(|point| (None, point.to_f64())).into_iter().collect()
            }
            Kind::Arbitrage { .. } => {
                let wins = lines(&chosen).iter().filter_map(Line::win_at_best_prices).max_by(f64::total_cmp);
                wins.map(|share| (None, share * 100.0)).into_iter().collect()
            }
            Kind::Move { minutes, bookmakers, .. } => {
                let Some(from) = self.window_start(seen, minutes) else { return Vec::new() };
                let past = self.past.get(&(seen.event.clone(), seen.market.clone()));
                let then = past.and_then(|past| past.iter().rev().find(|(at, _)| *at <= from));
                let Some((_, then)) = then else { return Vec::new() };
                let [mut before, mut now] = [Quotes::new(), Quotes::new()];
                for (bookmaker, all) in chosen.iter().filter(|(bookmaker, _)| then.contains_key(*bookmaker)) {
                    before.insert(bookmaker.clone(), then[bookmaker].clone());
                    now.insert(bookmaker.clone(), all.clone());
                }
                let moved = moves(&lines(&before), &lines(&now)).into_iter().map(|it| {
                    let points = (it.change() * 100.0).abs();
                    let value = if it.moved_with >= bookmakers as usize { points } else { 0.0 };
                    ((it.name, it.point, it.description), value)
                });
                moved.filter(|(id, _)| is_wanted(id)).map(|(id, value)| (Some(id), value)).collect()
            }
            Kind::Starts { .. } | Kind::Feed { .. } => Vec::new(),
        }
    }

    /// The time that a movement begins at, if there is any time before now.
    fn window_start(&self, seen: &Seen<'_>, minutes: u32) -> Option<Timestamp> {
        let (since, _) = self.live.get(&seen.details.sport_key)?;
        let from = seen.at.plus_millis(-i64::from(minutes) * MINUTE_MS).max(*since);
        (from < seen.at).then_some(from)
    }
}

/// Whether the value is reached, and whether it is away from it by the margin.
fn sides(kind: &Kind, value: f64) -> (bool, bool) {
    match kind {
        Kind::Price(Limit::AtLeast(price)) => (value >= price.to_f64(), value <= price.to_f64() * (1.0 - PRICE_MARGIN)),
        Kind::Price(Limit::AtMost(price)) => (value <= price.to_f64(), value >= price.to_f64() * (1.0 + PRICE_MARGIN)),
        Kind::Move { percent, .. } | Kind::Arbitrage { percent } => {
            (value >= percent.to_f64(), value <= percent.to_f64() * REMAINDER)
        }
        Kind::Line { .. } | Kind::Starts { .. } | Kind::Feed { .. } => (false, false),
    }
}

fn is_sport_live(marker: &Marker, sport: &SportKey) -> bool {
    let fresh_until = marker.sports.get(sport).map(|freshness| freshness.stale_after.min(marker.next_by));
    marker.state == FeedState::Live
        && !marker.source.starts_with(REPLAYED)
        && fresh_until.is_some_and(|until| until >= marker.at)
}

fn quotes_of(board: &Board, event: &EventId, market: &MarketKey) -> Quotes {
    let of_market = board.quotes_of(event).filter(|(_, key, _)| *key == market);
    of_market.map(|(bookmaker, _, outcomes)| (bookmaker.clone(), outcomes.to_vec())).collect()
}
