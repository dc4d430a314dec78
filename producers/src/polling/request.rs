//! A request to the source, and its outcome.

use odds::{Credits, SportKey, Timestamp};
use tracing::warn;

use crate::{
    settings::PollSettings,
    source::{Answer, OddsQuery, Source, SourceError, Sport, Unreadable},
};

/// A request to the source.
#[derive(Clone, Debug)]
pub(crate) enum PollRequest {
    Sports,
    /// Asks only for the remaining credits. Free of charge.
    Credits,
    Odds(OddsQuery),
}

/// The source's answer to a request.
#[derive(Debug)]
pub(crate) enum PollOutcome {
    Sports(Result<Listed, SourceError>),
    Credits(Result<Credits, SourceError>),
    /// The answer to [`PollRequest::Odds`], asked at `asked_at`.
    Odds {
        sport: SportKey,
        asked_at: Timestamp,
        answer: Result<Answer, SourceError>,
    },
}

/// The sports as the source lists them.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(super) sports: Vec<ListedSport>,
    pub(super) credits: Credits,
    /// Credits that listing cost.
    pub(super) cost: f64,
    pub(crate) unreadable: Unreadable,
}

/// A sport as the source lists it.
#[derive(Clone, Debug)]
pub(crate) struct ListedSport {
    pub(super) sport: Sport,
    /// None if the starts couldn't be listed.
    pub(super) starts: Option<Vec<Timestamp>>,
    /// The most credits that a poll costs.
    pub(super) cost: f64,
}

impl PollOutcome {
    pub(crate) fn outcome(&self) -> &'static str {
        let error = match self {
            Self::Sports(Ok(_)) | Self::Credits(Ok(_)) | Self::Odds { answer: Ok(_), .. } => return "ok",
            Self::Sports(Err(error)) | Self::Credits(Err(error)) | Self::Odds { answer: Err(error), .. } => error,
        };
        match error {
            SourceError::BadKey { .. } => "bad_key",
            SourceError::OutOfCredits { .. } => "out_of_credits",
            SourceError::Refused { .. } => "refused",
            SourceError::TooFast { .. } => "too_fast",
            SourceError::Outage { .. } => "outage",
            SourceError::WrongFormat { .. } => "wrong_format",
        }
    }
}

impl PollRequest {
    /// Returns the outcome of a request that couldn't be made.
    pub(crate) fn fails(self, reason: &str) -> PollOutcome {
        let error = SourceError::Outage { reason: reason.to_owned(), retry_after: None, cost: 0.0 };
        match self {
            Self::Sports => PollOutcome::Sports(Err(error)),
            Self::Credits => PollOutcome::Credits(Err(error)),
            Self::Odds(query) => PollOutcome::Odds { sport: query.sport, asked_at: query.now, answer: Err(error) },
        }
    }

    pub(crate) async fn run(self, source: &dyn Source, settings: &PollSettings) -> PollOutcome {
        match self {
            Self::Sports => PollOutcome::Sports(list(source, settings).await),
            Self::Credits => PollOutcome::Credits(source.sports().await.map(|list| list.credits)),
            Self::Odds(query) => {
                let (sport, asked_at) = (query.sport.clone(), query.now);
                PollOutcome::Odds { sport, asked_at, answer: source.odds(query).await }
            }
        }
    }
}

async fn list(source: &dyn Source, settings: &PollSettings) -> Result<Listed, SourceError> {
    let list = source.sports().await?;
    let mut unreadable = list.unreadable;
    let mut listing_cost = 0.0;
    let mut sports = Vec::new();
    let mut goes_on = true;
    for sport in list.sports {
        if settings.wants(&sport.key) {
            let starts = if goes_on { Some(source.starts(&sport.key).await) } else { None };
            let starts = match starts {
                Some(Ok(list)) => {
                    unreadable.merge(&list.unreadable);
                    listing_cost += list.cost;
                    Some(list.starts)
                }
                Some(Err(error @ SourceError::BadKey { .. })) => return Err(error),
                Some(Err(error)) => {
                    warn!(sport = %sport.key, %error, "the starts of a sport's events can't be listed");
                    listing_cost += error.cost();
                    // After a refusal of one sport, requests for others may still work. It would be refused again soon.
                    let is_refused = matches!(error, SourceError::Refused { .. });
                    goes_on = is_refused || matches!(error, SourceError::WrongFormat { .. });
                    is_refused.then(Vec::new)
                }
                None => None,
            };
            let cost = source.cost(&sport.key, &settings.markets_of(sport.outrights));
            sports.push(ListedSport { sport, starts, cost });
        }
    }
    // They were read before the starts were listed.
    let remaining = list.credits.remaining.map(|remaining| remaining - listing_cost);
    let credits = Credits { remaining, ..list.credits };
    Ok(Listed { sports, credits, cost: listing_cost, unreadable })
}
