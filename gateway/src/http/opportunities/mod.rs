//! Serves bets that are worth placing at the live prices of this moment. docs/opportunities.md defines them.

mod arbitrages;
mod live;
mod values;

use std::sync::Arc;

use ::odds::{Filter, Region};
use market::Commission;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use self::live::LiveLines;
use super::{
    error::ApiError,
    history::{all_if_none, invalid, parsed},
    odds::filter,
};
use crate::session::AppState;

const LIMIT: usize = 50;
const MOST: usize = 200;

pub(super) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(arbitrages::arbitrages)).routes(routes!(values::values))
}

/// What both kinds of opportunities are asked for with.
#[derive(Debug)]
struct Wanted {
    regions: Vec<Region>,
    filter: Filter,
    commission: Commission,
    limit: usize,
}

impl Wanted {
    /// Reads what is common from a query. `own` reads a parameter of the kind, and returns whether it is one; `known` has
    /// the names of all.
    fn read(
        query: Vec<(String, String)>,
        known: &str,
        mut own: impl FnMut(&str, &str) -> Result<bool, ApiError>,
    ) -> Result<Self, ApiError> {
        let (mut regions, mut rest) = (Vec::new(), Vec::new());
        let (mut commission, mut limit) = (Commission::default(), LIMIT);
        for (field, value) in query {
            match field.as_str() {
                "region" => regions.push(parsed(&field, &value)?),
                "commission" => {
                    let percent = Commission::of_percent(parsed(&field, &value)?);
                    commission =
                        percent.ok_or_else(|| invalid(&field, "expected per cent, from 0 to less than 100"))?;
                }
                "limit" => limit = parsed(&field, &value)?,
                _ if own(&field, &value)? => {}
                _ => rest.push((field, value)),
            }
        }
        if !(1..=MOST).contains(&limit) {
            return Err(invalid("limit", &format!("expected 1 to {MOST}")));
        }
        Ok(Self { regions: all_if_none(regions), filter: filter(&rest, known)?, commission, limit })
    }
}
