//! Which view the address names. Later views get a path of their own here, in the rail (`side.rs`), and in the gateway's
//! list of paths that are the page.

use leptos::prelude::*;

use super::browser;
use crate::view::Key;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Route {
    Board,
    Event(Key),
    Movers,
    Opportunities,
    Alerts,
    Settings,
    /// One that not all accounts have.
    Extra(Key),
}

impl Route {
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Board => "/".to_owned(),
            Self::Event(id) => [EVENT, id].concat(),
            Self::Movers => MOVERS.to_owned(),
            Self::Opportunities => OPPORTUNITIES.to_owned(),
            Self::Alerts => ALERTS.to_owned(),
            Self::Settings => SETTINGS.to_owned(),
            Self::Extra(name) => [EXTRA, name].concat(),
        }
    }

    fn of(path: &str) -> Self {
        if let Some(name) = path.strip_prefix(EXTRA) {
            return Self::Extra(name.into());
        }
        match path.strip_prefix(EVENT) {
            Some(id) if !id.is_empty() => Self::Event(id.into()),
            _ if path == MOVERS => Self::Movers,
            _ if path == OPPORTUNITIES => Self::Opportunities,
            _ if path == ALERTS => Self::Alerts,
            _ if path == SETTINGS => Self::Settings,
            _ => Self::Board,
        }
    }
}

const EVENT: &str = "/event/";
const EXTRA: &str = "/view/";
const MOVERS: &str = "/movers";
const OPPORTUNITIES: &str = "/opportunities";
const ALERTS: &str = "/alerts";
const SETTINGS: &str = "/settings";

/// The view that is shown. Copies are handles to the same.
#[derive(Clone, Copy)]
pub(crate) struct Router(RwSignal<Route>);

impl Router {
    /// Follows the address, until the owner is disposed.
    pub(crate) fn start() -> Self {
        let route = RwSignal::new(Route::of(&browser::path()));
        let handle = window_event_listener_untyped("popstate", move |_| route.set(Route::of(&browser::path())));
        on_cleanup(move || handle.remove());
        Self(route)
    }

    pub(crate) fn get(self) -> Route {
        self.0.get()
    }

    pub(crate) fn get_untracked(self) -> Route {
        self.0.get_untracked()
    }

    /// Goes to a view. "Back" returns to the one before.
    pub(crate) fn go(self, to: Route) {
        if self.0.with_untracked(|here| *here != to) {
            browser::go(&to.path());
            self.0.set(to);
        }
    }

    /// The handler of a click on a link to a view, which goes there without loading the page again.
    pub(crate) fn follow(self, to: Route) -> impl Fn(leptos::ev::MouseEvent) {
        move |event| {
            if !browser::opens_elsewhere(&event) {
                event.prevent_default();
                self.go(to.clone());
            }
        }
    }
}
