//! The view of all alerts, of the rules, and of what the browser may show.

use leptos::{ev::MouseEvent, prelude::*, task::spawn_local};
use odds::Timestamp;

use super::{mark_read, notification::Permission, open, rules::Rules};
use crate::{
    page::{
        api, browser,
        route::{Route, Router},
        select::OneOf,
        shared::{list, when},
        stream::{Connection, Stream},
        time,
    },
    text,
    view::{Alert, Key, key_in},
};

/// How many alerts are shown first, and at most.
const FIRST: usize = 50;
const MOST: usize = 200;
/// How many unwatched times are shown, the newest.
const UNWATCHED: usize = 3;

#[component]
pub(crate) fn AlertsPage(stream: Stream, router: Router) -> impl IntoView {
    let alerts = Inbox::start(stream, router);
    let rules = Rules::start();
    Effect::new(move |before: Option<()>| {
        // A rule may have ended with its alert.
        stream.alert_changes.track();
        if before.is_some() {
            rules.load();
        }
    });
    let title_of = move |id: Option<&str>| {
        let id = id?;
        let known =
            alerts.all.with_untracked(|all| all.iter().find(|it| it.event.as_deref() == Some(id)).map(Alert::title));
        known.or_else(|| stream.event(id).map(|event| event.with_untracked(|event| event.title())))
    };
    let listed = rules.view(stream, Box::new(move |rule| title_of(rule.event.as_deref())), |_| true, "rules-title");
    view! {
        <main class="settings">
            <h2>{text::ALERTS}</h2>
            {alerts.view(rules)}
            <section class="card" aria-labelledby="rules-title">
                <h3 id="rules-title" tabindex="-1">{text::RULES}</h3>
                <p class="hint" class:hidden=move || !(rules.loaded.get() && listed.is_empty.get())>{text::NO_RULES}</p>
                {listed.list}
            </section>
            {notifications()}
        </main>
    }
}

/// The alerts that are listed. Copies are handles to the same.
#[derive(Clone, Copy)]
struct Inbox {
    stream: Stream,
    router: Router,
    /// The newest first.
    all: RwSignal<Vec<Alert>>,
    /// Sentences about unwatched times, the newest first.
    unwatched: RwSignal<Vec<String>>,
    loaded: RwSignal<bool>,
    failure: RwSignal<String>,
    /// How many are asked for.
    limit: RwSignal<usize>,
    has_older: RwSignal<bool>,
    is_loading: StoredValue<bool>,
    /// Something has changed since they were asked for.
    is_old: StoredValue<bool>,
    /// A key of `text::ALERT_FILTERS`.
    shown: RwSignal<&'static str>,
    /// A key of `text::RULE_KINDS`.
    kind: RwSignal<&'static str>,
}

impl Inbox {
    fn start(stream: Stream, router: Router) -> Self {
        let this = Self {
            stream,
            router,
            all: RwSignal::new(Vec::new()),
            unwatched: RwSignal::new(Vec::new()),
            loaded: RwSignal::new(false),
            failure: RwSignal::new(String::new()),
            limit: RwSignal::new(FIRST),
            has_older: RwSignal::new(false),
            is_loading: StoredValue::new(false),
            is_old: StoredValue::new(false),
            shown: RwSignal::new(text::ALERT_FILTERS[0].0),
            kind: RwSignal::new(text::RULE_KINDS[0].0),
        };
        Effect::new(move |_| {
            this.limit.track();
            stream.alert_changes.track();
            // Some were read elsewhere.
            stream.unread.track();
            // While the connection was lost, some may have come.
            if stream.connection.get() == Connection::Live || !this.loaded.get_untracked() {
                this.load();
            }
        });
        this
    }

    /// Asks for the alerts, again and again while something changes meanwhile.
    fn load(self) {
        self.is_old.set_value(true);
        if self.is_loading.try_update_value(|is_loading| std::mem::replace(is_loading, true)) != Some(false) {
            return;
        }
        spawn_local(async move {
            while self.is_old.try_update_value(std::mem::take) == Some(true) {
                let Some(limit) = self.limit.try_get_untracked() else { return };
                match api::alerts(limit).await {
                    Ok(inbox) => {
                        let newest_first = inbox.alerts.iter().rev();
                        let listed = newest_first.filter_map(|alert| serde_json::from_str(alert.get()).ok()).collect();
                        self.all.try_set(listed);
                        let unwatched = inbox.unwatched.iter().rev().take(UNWATCHED);
                        self.unwatched.try_set(unwatched.map(sentence_about).collect());
                        self.has_older.try_set(inbox.alerts.len() == limit && limit < MOST);
                        self.loaded.try_set(true);
                        self.failure.try_set(String::new());
                    }
                    Err(failed) => drop(self.failure.try_set(failed.message)),
                }
            }
            self.is_loading.try_update_value(|is_loading| *is_loading = false);
        });
    }

    fn shows(self, alert: &Alert) -> bool {
        let (shown, kind) = (self.shown.get(), self.kind.get());
        let is_shown = match shown {
            "unread" => alert.read_at.is_none(),
            "missed" => alert.missed,
            _ => true,
        };
        is_shown && (kind == text::RULE_KINDS[0].0 || alert.kind == kind)
    }

    fn view(self, rules: Rules) -> AnyView {
        let shown = Memo::new(move |_| {
            self.all.with(|all| all.iter().filter(|alert| self.shows(alert)).map(key_of).collect::<Vec<Key>>())
        });
        let draw = move |key: Key| {
            let alert = self.all.with_untracked(|all| all.iter().find(|alert| key_of(alert) == key).cloned());
            alert.map(|alert| self.item(rules, alert)).into_any()
        };
        let empty = move || match (self.loaded.get(), self.all.with(Vec::is_empty), shown.with(Vec::is_empty)) {
            (true, true, _) => text::NO_ALERTS,
            (true, false, true) => text::NO_SUCH_ALERTS,
            _ => "",
        };
        let older = move |_| {
            self.limit.set(MOST);
            browser::focus_on("alerts-title");
        };
        view! {
            <section class="card" aria-labelledby="alerts-title">
                <h3 id="alerts-title" tabindex="-1">{text::WHAT_HAPPENED}</h3>
                <div class="chips">
                    <OneOf
                        label=text::SHOW options=text::ALERT_FILTERS.to_vec() chosen=self.shown.into()
                        choose=Box::new(move |key| self.shown.set(key_in(&text::ALERT_FILTERS, &key)))
                    />
                    <OneOf
                        label=text::KIND options=text::RULE_KINDS.to_vec() chosen=self.kind.into()
                        choose=Box::new(move |key| self.kind.set(key_in(&text::RULE_KINDS, &key)))
                    />
                    <button on:click=move |_| mark_read(self.stream, None)>{text::MARK_READ}</button>
                </div>
                <p class="hint" role="status">{empty}</p>
                <p class="error" role="alert">{self.failure}</p>
                {move || {
                    let sentences = self.unwatched.get().into_iter();
                    sentences.map(|sentence| view! { <p class="hint unwatched">{sentence}</p> }.into_any()).collect_view()
                }}
                <ul class="tokens alerts">{list(move || shown.get(), draw)}</ul>
                {when(
                    move || self.has_older.get(),
                    move || view! { <p><button on:click=older>{text::SHOW_OLDER}</button></p> }.into_any(),
                )}
            </section>
        }
        .into_any()
    }

    fn item(self, rules: Rules, alert: Alert) -> AnyView {
        let Self { stream, router, .. } = self;
        let place = [alert.place(), moment(alert.at)];
        let place = place.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ");
        let (is_unread, is_missed) = (alert.read_at.is_none(), alert.missed);
        let (id, event) = (alert.id.clone(), alert.event.clone());
        let path = event.as_ref().map(|event| Route::Event(event.as_str().into()).path());
        let follow = move |click: MouseEvent| {
            if browser::opens_elsewhere(&click) {
                return mark_read(stream, Some(vec![id.clone()]));
            }
            click.prevent_default();
            open(stream, router, &id, event.as_deref());
        };
        let sentence = move || {
            let bookmaker = alert.bookmaker.as_deref().map(|key| stream.bookmaker(key)).unwrap_or_default();
            let format = stream.query.with(|query| query.format);
            rules.all.with(|rules| {
                let rule = rules.iter().find(|rule| rule.id == alert.rule);
                alert.sentence(rule, &bookmaker, format)
            })
        };
        view! {
            <li class:unread=is_unread>
                // Without an event, a click only marks it as read.
                <a href=path.unwrap_or_else(|| Route::Alerts.path()) on:click=follow>{sentence}</a>
                <span class="about">
                    {is_unread.then(|| view! { <strong class="badge started">{text::NEW}</strong> " " })}
                    {place}
                    {is_missed.then(|| format!(" · {}", text::MISSED))}
                </span>
            </li>
        }
        .into_any()
    }
}

/// Identifies an alert in the list, where it is drawn again when it was read.
fn key_of(alert: &Alert) -> Key {
    format!("{} {}", alert.id, alert.read_at.is_some()).into()
}

fn sentence_about(time: &api::UnwatchedTime) -> String {
    text::unwatched(&time.region.key().to_ascii_uppercase(), &moment(time.from), &moment(time.until))
}

fn moment(at: Timestamp) -> String {
    format!("{}\u{a0}{}", time::day(at, time::now()), time::clock_to_the_second(at))
}

/// What the browser may show, and how to allow it.
fn notifications() -> AnyView {
    let permission = RwSignal::new(Permission::now());
    let ask = move |_| {
        spawn_local(async move {
            permission.try_set(Permission::ask().await);
        });
    };
    let about = move || match permission.get() {
        Permission::Impossible => "",
        Permission::Unasked => text::ABOUT_NOTIFICATIONS,
        Permission::Granted => text::NOTIFICATIONS_ALLOWED,
        Permission::Denied => text::NOTIFICATIONS_DENIED,
    };
    view! {
        <section
            class="card" aria-labelledby="notifications"
            class:hidden=move || permission.get() == Permission::Impossible
        >
            <h3 id="notifications">{text::NOTIFICATIONS}</h3>
            <p class="hint" role="status">{about}</p>
            {when(
                move || permission.get() == Permission::Unasked,
                move || view! { <p><button on:click=ask>{text::ALLOW_NOTIFICATIONS}</button></p> }.into_any(),
            )}
        </section>
    }
    .into_any()
}
