//! The user's alerts. All of this is loaded after the board: the bell with the number of unread alerts, the list of
//! alerts and rules, the dialog that sets an alert, and the browser's notifications.

mod bell;
mod dialog;
mod list;
mod notification;
mod rules;

use std::sync::Arc;

use leptos::{lazy, task::spawn_local};
use web_sys::Element;

pub(crate) use self::{bell::Bell, list::AlertsPage};
use super::{
    api, browser, keys,
    route::{Route, Router},
    stream::Stream,
    time,
};
use crate::view::{EventView, Key};

/// The name in local storage by which other tabs see that alerts were read.
const READ: &str = "toteboard-alerts-read";

/// What an alert is set for.
pub(crate) enum Target {
    /// The outcome in this row of the board.
    Row(Element),
    Outcome(Outcome),
}

/// An outcome of an event.
#[derive(Clone)]
pub(crate) struct Outcome {
    pub(crate) event: Arc<EventView>,
    pub(crate) market: Key,
    /// Its name with its point.
    pub(crate) name: Key,
    /// Of its line; without it, it is in the market's main line.
    pub(crate) description: Option<String>,
}

/// Opens the dialog that sets an alert.
#[lazy]
pub(crate) fn set_alert(stream: Stream, target: Target) {
    let outcome = match target {
        Target::Outcome(outcome) => Some(outcome),
        Target::Row(row) => in_row(stream, row),
    };
    if let Some(outcome) = outcome {
        dialog::open(stream, outcome);
    }
}

fn in_row(stream: Stream, row: Element) -> Option<Outcome> {
    use leptos::prelude::{GetUntracked, WithUntracked};
    let name = row.get_attribute("data-outcome")?.into();
    let event = stream.event(&keys::event_of(Some(row))?)?.get_untracked();
    let market = stream.query.with_untracked(|query| query.market.as_str().into());
    Some(Outcome { event, market, name, description: None })
}

/// Marks these alerts as read, or all, here and in other tabs.
fn mark_read(stream: Stream, ids: Option<Vec<String>>) {
    use leptos::prelude::{Set, Update};
    spawn_local(async move {
        let Ok(unread) = api::read_alerts(ids).await else { return };
        if !stream.is_over() {
            stream.unread.set(unread);
            stream.alert_changes.update(|changes| *changes += 1);
        }
        browser::keep(READ, &time::now().to_string());
    });
}

/// Shows the event of an alert, and marks the alert as read.
fn open(stream: Stream, router: Router, id: &str, event: Option<&str>) {
    mark_read(stream, Some(vec![id.to_owned()]));
    router.go(route_of(event));
}

/// The view that shows an alert: its event, if it has one.
fn route_of(event: Option<&str>) -> Route {
    event.map_or(Route::Alerts, |event| Route::Event(event.into()))
}
