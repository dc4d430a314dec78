//! The quotes of one market in all regions, parsed once for all rules that look at them.

use std::collections::BTreeMap;

use odds::{BookmakerKey, Details, EventId, MarketKey, Outcome, Region, Timestamp};

use crate::{Boards, OutcomeName, RegionView, Regions};

/// A market of an event as the boards have it.
#[derive(Clone, Debug)]
pub(crate) struct MarketNow {
    pub(crate) event: EventId,
    pub(crate) market: MarketKey,
    pub(crate) details: Details,
    pub(crate) quotes: Vec<QuoteNow>,
}

#[derive(Clone, Debug)]
pub(crate) struct QuoteNow {
    pub(crate) region: Region,
    pub(crate) bookmaker: BookmakerKey,
    pub(crate) polled_at: Timestamp,
    pub(crate) is_live: bool,
    pub(crate) outcomes: Vec<Outcome>,
}

/// What a rule sees of a market.
pub(crate) struct Chosen<'a> {
    /// The live quotes, one for each bookmaker.
    pub(crate) quotes: BTreeMap<&'a BookmakerKey, &'a QuoteNow>,
    /// Whether no quote is left out because it is not live.
    pub(crate) is_complete: bool,
}

impl MarketNow {
    /// `None` if no board has the event. A quote is live if its sport's prices are, at the time `at`.
    pub(crate) fn read(boards: &Boards<'_>, event: &EventId, market: &MarketKey, at: Timestamp) -> Option<Self> {
        let mut details = None;
        let mut quotes = Vec::new();
        for region in Region::ALL {
            let Some(view) = boards.get(region) else { continue };
            let Some(here) = view.board.details(event) else { continue };
            quotes.extend(quotes_in(region, view, event, here, market, at));
            details.get_or_insert(here);
        }
        Some(Self { event: event.clone(), market: market.clone(), details: details?.clone(), quotes })
    }

    /// The quotes of these regions and bookmakers. A bookmaker in several regions counts once, by its newest poll.
    pub(crate) fn choose(&self, regions: Regions, bookmakers: Option<&[BookmakerKey]>) -> Chosen<'_> {
        let is_wanted = |quote: &&QuoteNow| {
            regions.contains(quote.region) && bookmakers.is_none_or(|all| all.binary_search(&quote.bookmaker).is_ok())
        };
        let mut chosen = Chosen { quotes: BTreeMap::new(), is_complete: true };
        for quote in self.quotes.iter().filter(is_wanted) {
            if !quote.is_live {
                chosen.is_complete = false;
                continue;
            }
            let newest = chosen.quotes.entry(&quote.bookmaker).or_insert(quote);
            if quote.polled_at > newest.polled_at {
                *newest = quote;
            }
        }
        chosen
    }

    /// Whether a team's name contains this text, which is in lower case.
    pub(crate) fn has_team(details: &Details, text: &str) -> bool {
        let teams = [&details.home_team, &details.away_team];
        teams.into_iter().flatten().any(|team| team.to_lowercase().contains(text))
    }
}

fn quotes_in(
    region: Region,
    view: RegionView<'_>,
    event: &EventId,
    details: &Details,
    market: &MarketKey,
    at: Timestamp,
) -> Vec<QuoteNow> {
    // A board may be ahead of the step that is evaluated.
    let is_live = view.is_sport_live(&details.sport_key, at.max(view.marker.at));
    let polled_at = view.marker.sports.get(&details.sport_key).map(|it| it.polled_at).unwrap_or_default();
    let of_market = view.board.quotes_of(event).filter(|(_, key, _)| *key == market);
    let quote = |(bookmaker, _, outcomes): (&BookmakerKey, _, &odds::Outcomes)| QuoteNow {
        region,
        bookmaker: bookmaker.clone(),
        polled_at,
        is_live,
        outcomes: outcomes.to_vec(),
    };
    of_market.map(quote).collect()
}

impl Chosen<'_> {
    /// Whether there is no price.
    pub(crate) fn is_empty(&self) -> bool {
        self.quotes.is_empty()
    }
}

impl OutcomeName {
    /// Whether this is exactly that outcome.
    pub(crate) fn names(&self, outcome: &Outcome) -> bool {
        outcome.identity() == (self.name.as_str(), self.point, self.description.as_deref())
    }

    /// Whether the outcome has this name, and whatever else is given here.
    pub(crate) fn admits(&self, outcome: &Self) -> bool {
        self.name == outcome.name
            && (self.point.is_none() || self.point == outcome.point)
            && (self.description.is_none() || self.description == outcome.description)
    }
}
