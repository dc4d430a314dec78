//! The dialog that sets an alert for an outcome's price.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use leptos::{
    html,
    leptos_dom::helpers::set_timeout_with_handle,
    mount::{UnmountHandle, mount_to},
    prelude::*,
    tachys::view::any_view::AnyViewState,
    task::spawn_local,
};
use odds::{Decimal, Region};
use serde::Serialize;

use super::{Outcome, rules::Rules};
use crate::{
    page::{
        api::{self, Failure},
        browser,
        cell::{OutcomeKey, label_of},
        form::{Form, Input},
        stream::Stream,
    },
    text,
    view::{Key, a_step_better, market_title, read_price, written},
};

/// How long the page says that an alert is set.
const SAID_FOR: Duration = Duration::from_secs(5);
/// The field of the price, in the form and in the gateway's errors.
const PRICE: &str = "at_least";
/// The longest name of a rule, in bytes.
const LONGEST_NAME: usize = 200;

/// A rule about a price, as the gateway takes it.
#[derive(Clone, Serialize)]
struct PriceRule {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    event: String,
    market: String,
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    point: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    at_least: Option<Decimal>,
    regions: Vec<Region>,
    bookmakers: Vec<Key>,
    channels: Vec<&'static str>,
}

/// The outcome on the event's boards: its name, its line's description and, of a market to back, its best price with the
/// bookmaker.
struct Found {
    outcome: OutcomeKey,
    description: Option<String>,
    best: Option<(Decimal, String)>,
}

impl Found {
    fn of(asked: &Outcome) -> Self {
        let lines = asked.event.lines.iter().filter(|line| line.market.as_str() == &*asked.market);
        let mut lines = lines.filter(|line| asked.description.is_none() || line.description == asked.description);
        let found = lines.find_map(|line| {
            let key = |name: &str, point| (name.to_owned(), point);
            let mut outcomes = line.outcomes.iter();
            let outcome = outcomes.find(|it| label_of(&key(&it.name, it.point)) == *asked.name)?;
            let best = outcome.best().filter(|_| line.marks_best());
            Some(Self {
                outcome: key(&outcome.name, outcome.point),
                description: line.description.clone(),
                best: best.map(|(bookmaker, offer)| (offer.price, bookmaker.as_str().to_owned())),
            })
        });
        found.unwrap_or_else(|| Self { outcome: (asked.name.to_string(), None), description: None, best: None })
    }
}

thread_local!(static SHOWN: RefCell<Option<UnmountHandle<AnyViewState>>> = const { RefCell::new(None) });

/// Opens the dialog for an outcome, instead of one that is open.
pub(super) fn open(stream: Stream, asked: Outcome) {
    let Some(body) = document().body() else { return };
    close();
    let shown = mount_to(body, move || view! { <AlertDialog stream asked/> }.into_any());
    SHOWN.set(Some(shown));
}

fn close() {
    drop(SHOWN.take());
}

#[component]
fn AlertDialog(stream: Stream, asked: Outcome) -> impl IntoView {
    let node: NodeRef<html::Dialog> = NodeRef::new();
    let said = RwSignal::new(String::new());
    let only_mine = RwSignal::new(false);
    let mine = stream.query.with_untracked(|query| query.mine.clone());
    let format = stream.query.with_untracked(|query| query.format);
    let found = Found::of(&asked);
    // An alert waits for a price to back.
    let market = asked.market.strip_suffix("_lay").unwrap_or(&asked.market).to_owned();
    let title = asked.event.title();
    let best = found.best.as_ref().map(|(price, by)| text::now_at(&format.say(*price), &stream.bookmaker(by)));
    let about = [Some(title.clone()), Some(market_title(&market)), best];
    let about = about.into_iter().flatten().collect::<Vec<_>>().join(" · ");
    let proposed = found.best.as_ref().map(|(price, _)| a_step_better(*price));
    let rule = PriceRule {
        kind: "price",
        name: Some(title).filter(|title| title.len() <= LONGEST_NAME),
        event: asked.event.id.to_string(),
        market,
        outcome: found.outcome.0.clone(),
        point: found.outcome.1,
        description: found.description,
        at_least: None,
        regions: stream.regions.get_untracked(),
        bookmakers: Vec::new(),
        channels: vec!["page"],
    };
    let also = Also::start();
    let rules = Rules::start();
    let listed = {
        let (event, market, outcome) = (rule.event.clone(), rule.market.clone(), found.outcome);
        rules.view(stream, Box::new(|_| None), move |rule| rule.is_about(&event, &market, &outcome), PRICE)
    };
    Effect::new(move |_| {
        let Some(dialog) = node.get() else { return };
        // It is not open yet, and in the document.
        let _ = dialog.show_modal();
        let Some(input) = browser::input(PRICE) else { return };
        input.set_value(&proposed.map(|price| written(price, format)).unwrap_or_default());
        if browser::is_narrow() {
            // No keyboard comes up over the dialog.
            dialog.query_selector("button.primary").ok().flatten().iter().for_each(browser::focus);
        } else {
            browser::focus(&input);
            input.select();
        }
    });
    let own = mine.clone();
    let name = asked.name.clone();
    let form =
        Form::new().view(&[Input::text(PRICE, text::OR_BETTER, "off")], text::SET_ALERT.into(), false, move |given| {
            let bookmakers = if only_mine.get_untracked() { own.clone() } else { Vec::new() };
            let rule = PriceRule { bookmakers, channels: also.channels(), ..rule.clone() };
            let (name, given) = (name.clone(), given[0].clone());
            Box::pin(async move {
                let price = read_price(&given, format).ok_or_else(no_price)?;
                api::make_rule(&PriceRule { at_least: Some(price), ..rule }).await.map_err(at_its_field)?;
                said.try_set(text::alert_is_set(&name, &written(price, format)));
                if let Some(dialog) = node.try_get_untracked().flatten() {
                    dialog.close();
                }
                Ok("")
            })
        });
    let ending = StoredValue::new(None::<TimeoutHandle>);
    on_cleanup(move || {
        if let Some(timer) = ending.try_get_value().flatten() {
            timer.clear();
        }
    });
    let closed = move |_| {
        // Not within the handler, which belongs to what is closed.
        let after = if said.with_untracked(String::is_empty) { Duration::ZERO } else { SAID_FOR };
        ending.set_value(set_timeout_with_handle(close, after).ok());
    };
    let whose = |is_mine: bool, title: &'static str| {
        view! {
            <label class="chip">
                <input
                    type="radio" name="whose" prop:checked=move || only_mine.get() == is_mine
                    on:change=move |_| only_mine.set(is_mine)
                />
                <span>{title}</span>
            </label>
        }
    };
    view! {
        <dialog node_ref=node class="help set-alert" aria-labelledby="alert-title" on:close=closed>
            <h2 id="alert-title">{text::tell_me(&asked.name)}</h2>
            <p class="about">{about}</p>
            <fieldset class="chips" class:hidden=mine.is_empty()>
                <legend class="unseen">{text::FROM_WHOM}</legend>
                {whose(false, text::ALL_BOOKMAKERS)}
                {whose(true, text::MINE_ONLY)}
            </fieldset>
            {also.view()}
            {form}
            <section class:hidden=move || listed.is_empty.get() aria-labelledby="alert-rules">
                <h3 id="alert-rules">{text::RULES_OF_OUTCOME}</h3>
                {listed.list}
            </section>
            <form method="dialog"><button>{text::CLOSE}</button></form>
        </dialog>
        <p class="said" role="status">{said}</p>
    }
}

/// The channels by which an alert comes besides the page: those that the user has confirmed an address for.
#[derive(Clone, Copy)]
struct Also {
    email: Choice,
    sms: Choice,
}

#[derive(Clone, Copy)]
struct Choice {
    key: &'static str,
    name: &'static str,
    is_possible: RwSignal<bool>,
    is_chosen: RwSignal<bool>,
}

impl Choice {
    fn new(key: &'static str, name: &'static str) -> Self {
        Self { key, name, is_possible: RwSignal::new(false), is_chosen: RwSignal::new(false) }
    }

    fn view(self) -> impl IntoView {
        view! {
            <label class="chip" class:hidden=move || !self.is_possible.get()>
                <input
                    type="checkbox" prop:checked=self.is_chosen
                    on:change=move |event| self.is_chosen.set(event_target_checked(&event))
                />
                <span>{self.name}</span>
            </label>
        }
    }
}

impl Also {
    fn start() -> Self {
        let also = Self { email: Choice::new("email", text::BY_EMAIL), sms: Choice::new("sms", text::BY_SMS) };
        spawn_local(async move {
            // Without an answer, there is the page.
            let Ok(contacts) = api::contacts().await else { return };
            for (choice, contact) in [(also.email, contacts.email), (also.sms, contacts.sms)] {
                choice.is_possible.try_set(contact.is_some_and(|it| it.confirmed && it.alerts));
            }
        });
        also
    }

    fn channels(self) -> Vec<&'static str> {
        let chosen = [self.email, self.sms].into_iter().filter(|it| it.is_chosen.get_untracked());
        std::iter::once("page").chain(chosen.map(|it| it.key)).collect()
    }

    fn view(self) -> impl IntoView {
        let is_none = move || !self.email.is_possible.get() && !self.sms.is_possible.get();
        view! {
            <fieldset class="chips" class:hidden=is_none>
                <legend>{text::ALSO_BY}</legend>
                {self.email.view()}
                {self.sms.view()}
            </fieldset>
        }
    }
}

fn no_price() -> Failure {
    Failure { fields: BTreeMap::from([(PRICE.to_owned(), text::NO_PRICE.to_owned())]), ..Failure::default() }
}

/// What the gateway says about a field that isn't in the form is shown as a whole.
fn at_its_field(failure: Failure) -> Failure {
    let is_here = failure.fields.contains_key(PRICE);
    if is_here { failure } else { Failure { fields: BTreeMap::new(), ..failure } }
}
