//! The views of what the gateway finds in the prices: what moved most, and which bets are worth placing. Both ask again
//! every few seconds.

mod movers;
mod opportunities;

use std::{sync::Arc, time::Duration};

use leptos::{prelude::*, task::spawn_local};
use odds::{Decimal, Timestamp};
use serde::{Deserialize, de::DeserializeOwned};

pub(crate) use self::{movers::MoversPage, opportunities::OpportunitiesPage};
use super::{
    api::{self, Failure},
    browser,
    cell::label_of,
    route::{Route, Router},
    stream::Stream,
    time,
};
use crate::{
    text,
    view::{Key, market_title, title_of},
};

const ASK_EVERY: Duration = Duration::from_secs(3);
/// When an answer is too old to be shown, and one that has not come is asked for again.
const OLD_AFTER_MS: i64 = 10_000;

/// An event, as the gateway's answers name it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct EventHead {
    id: String,
    sport_key: String,
    sport_title: String,
    commence_time: Timestamp,
    home_team: Option<String>,
    away_team: Option<String>,
}

impl EventHead {
    fn title(&self) -> String {
        let title = title_of(&self.sport_key, self.home_team.as_deref(), self.away_team.as_deref());
        title.unwrap_or_else(|| self.sport_title.clone())
    }

    /// A link to the event, and below it what a bet on it is about and when it starts.
    fn link(&self, router: Router, about: &[&str]) -> AnyView {
        let route = Route::Event(self.id.as_str().into());
        let start = time::day_and_clock(self.commence_time, time::now());
        let parts = about.iter().copied().chain([&*self.sport_title, &*start]);
        let about = parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ");
        view! {
            <a href=route.path() on:click=router.follow(route)>{self.title()}</a>
            <br/>
            <span class="about">{about}</span>
        }
        .into_any()
    }
}

fn label(outcome: &str, point: Option<Decimal>) -> String {
    label_of(&(outcome.to_owned(), point))
}

/// The title of a market with what it is about.
fn market_of(market: &str, description: Option<&str>) -> String {
    [description.unwrap_or_default(), &market_title(market)].join(" ").trim().to_owned()
}

/// What an answer has found, with a key for each. Copies are handles to the same.
struct Found<T: Send + Sync + 'static> {
    all: RwSignal<Vec<(Key, Arc<T>)>>,
    loaded: RwSignal<bool>,
    failure: RwSignal<String>,
    taken_at: StoredValue<Option<Timestamp>>,
}

impl<T: Send + Sync + 'static> Clone for Found<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Send + Sync + 'static> Copy for Found<T> {}

impl<T: Send + Sync + 'static> Found<T> {
    /// Asks at this path again and again while the page is visible, and when the path changes. `read` takes what was
    /// found from an answer.
    fn follow<A: DeserializeOwned + 'static>(
        path: impl Fn() -> String + Send + Sync + 'static,
        read: impl Fn(A) -> Vec<(String, T)> + 'static,
    ) -> Self {
        let this = Self {
            all: RwSignal::new(Vec::new()),
            loaded: RwSignal::new(false),
            failure: RwSignal::new(String::new()),
            taken_at: StoredValue::new(None),
        };
        let path = Memo::new(move |_| path());
        let read = std::rc::Rc::new(read);
        // Counts requests: only the answer to the newest one is shown.
        let newest = StoredValue::new(0u32);
        // Since when an answer is waited for.
        let waiting = StoredValue::new(None::<Timestamp>);
        let ask = move || {
            let Some(path) = path.try_get_untracked() else { return };
            waiting.set_value(Some(time::now()));
            let number = newest.try_update_value(|newest| {
                *newest += 1;
                *newest
            });
            let read = read.clone();
            spawn_local(async move {
                let answer = api::get::<A>(&path).await;
                if newest.try_get_value() == number {
                    waiting.try_set_value(None);
                    this.take(answer.map(|answer| read(answer)));
                }
            });
        };
        let first = ask.clone();
        Effect::new(move |_| {
            path.track();
            // What was found before is not what is wanted now.
            this.all.set(Vec::new());
            this.loaded.set(false);
            first();
        });
        let again = move || {
            let is_old = |since: Timestamp| time::now().millis_since(since) > OLD_AFTER_MS;
            if this.taken_at.get_value().is_some_and(is_old) {
                // Old prices must not look live.
                this.all.set(Vec::new());
                this.loaded.set(false);
            }
            if !browser::is_hidden() && waiting.get_value().is_none_or(is_old) {
                ask();
            }
        };
        let asking = set_interval_with_handle(again, ASK_EVERY).ok();
        on_cleanup(move || {
            if let Some(asking) = asking {
                asking.clear();
            }
        });
        this
    }

    fn take(self, answer: Result<Vec<(String, T)>, Failure>) {
        match answer {
            Ok(found) => {
                self.taken_at.set_value(Some(time::now()));
                self.all.set(found.into_iter().map(|(key, it)| (key.into(), Arc::new(it))).collect());
                self.loaded.set(true);
                self.failure.set(String::new());
            }
            Err(failure) => {
                // Old prices must not look live.
                self.all.set(Vec::new());
                self.failure.set(failure.message);
            }
        }
    }

    fn keys(self) -> Vec<Key> {
        self.all.with(|all| all.iter().map(|(key, _)| key.clone()).collect())
    }

    /// A text about the one with this key, which goes on while it is listed.
    fn text(self, key: &Key, say: impl Fn(&T) -> String + Send + Sync + 'static) -> AnyView {
        let key = key.clone();
        let say: Box<dyn Fn(&T) -> String + Send + Sync> = Box::new(say);
        let said = move || {
            self.all.with(|all| all.iter().find(|(it, _)| *it == key).map(|(_, it)| say(it)).unwrap_or_default())
        };
        said.into_any()
    }

    fn find(self, key: &Key) -> Option<Arc<T>> {
        self.all.with_untracked(|all| all.iter().find(|(it, _)| it == key).map(|(_, it)| it.clone()))
    }

    /// Says that it is being asked, that nothing was found, or what went wrong.
    fn state(self, nothing: &'static str) -> AnyView {
        let state = move || match (self.failure.with(String::is_empty), self.loaded.get(), self.all.with(Vec::is_empty))
        {
            (false, ..) | (_, true, false) => "",
            (true, false, _) => text::WAIT,
            (true, true, true) => nothing,
        };
        view! {
            <p class="hint" role="status">{state}</p>
            <p class="error" role="alert">{self.failure}</p>
        }
        .into_any()
    }
}

/// A choice whose options are known when it is drawn.
fn choice(label: &'static str, options: Vec<(String, String)>, chosen: RwSignal<String>) -> AnyView {
    let options = options.into_iter().map(|(key, title)| {
        let here = key.clone();
        view! { <option value=key selected=move || chosen.with(|chosen| *chosen == here)>{title}</option> }.into_any()
    });
    let options: Vec<AnyView> = options.collect();
    view! {
        <label class="select">
            <span class="unseen">{label}</span>
            <select on:change=move |event| chosen.set(event_target_value(&event))>{options}</select>
        </label>
    }
    .into_any()
}

/// The options of the market: the usual ones, and those on the boards.
fn markets(stream: Stream) -> Vec<(String, String)> {
    let usual = ["h2h", "spreads", "totals", "outrights"];
    let known = stream.markets.get_untracked();
    let others = known.iter().map(|key| &**key).filter(|key| !usual.contains(key) && !key.ends_with("_lay"));
    usual.into_iter().chain(others).map(|key| (key.to_owned(), market_title(key))).collect()
}
