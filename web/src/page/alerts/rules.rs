//! The user's rules as a list, where each can be deleted.

use leptos::{prelude::*, task::spawn_local};

use crate::{
    page::{api, browser, shared::list, stream::Stream},
    text,
    view::{Key, Rule},
};

/// The rules. Copies are handles to the same.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    pub(super) all: RwSignal<Vec<Rule>>,
    /// They have arrived.
    pub(super) loaded: RwSignal<bool>,
    failure: RwSignal<String>,
}

/// A list of rules.
pub(super) struct Listed {
    pub(super) list: AnyView,
    pub(super) is_empty: Memo<bool>,
}

/// The title of a rule's event, if that is known.
pub(super) type TitleOf = Box<dyn Fn(&Rule) -> Option<String> + Send + Sync>;

impl Rules {
    pub(super) fn start() -> Self {
        let this = Self {
            all: RwSignal::new(Vec::new()),
            loaded: RwSignal::new(false),
            failure: RwSignal::new(String::new()),
        };
        this.load();
        this
    }

    pub(super) fn load(self) {
        spawn_local(async move {
            match api::rules().await {
                Ok(mut rules) => {
                    // The newest first.
                    rules.reverse();
                    self.all.try_set(rules);
                    self.loaded.try_set(true);
                }
                Err(failed) => drop(self.failure.try_set(failed.message)),
            }
        });
    }

    fn delete(self, id: String, focus: &'static str) {
        spawn_local(async move {
            match api::delete_rule(&id).await {
                Ok(()) => {
                    browser::focus_on(focus);
                    if self.all.try_update(|all| all.retain(|rule| rule.id != id)).is_some() {
                        self.failure.set(String::new());
                    }
                }
                Err(failed) => drop(self.failure.try_set(failed.message)),
            }
        });
    }

    /// Lists those that `shows` admits. When one is deleted, the element with the id `focus` gets the focus.
    pub(super) fn view(
        self,
        stream: Stream,
        title_of: TitleOf,
        shows: impl Fn(&Rule) -> bool + Send + Sync + 'static,
        focus: &'static str,
    ) -> Listed {
        let shown = Memo::new(move |_| {
            self.all.with(|all| all.iter().filter(|rule| shows(rule)).map(key_of).collect::<Vec<Key>>())
        });
        let draw = move |key: Key| {
            let rule = self.all.with_untracked(|all| all.iter().find(|rule| key_of(rule) == key).cloned());
            rule.map(|rule| self.item(stream, &title_of, rule, focus)).into_any()
        };
        let list = view! {
            <ul class="tokens">{list(move || shown.get(), draw)}</ul>
            <p class="error" role="alert">{self.failure}</p>
        };
        Listed { list: list.into_any(), is_empty: Memo::new(move |_| shown.with(Vec::is_empty)) }
    }

    fn item(self, stream: Stream, title_of: &TitleOf, rule: Rule, focus: &'static str) -> AnyView {
        let sentence = rule.sentence(stream.query.with_untracked(|query| query.format));
        let about = format!("{} · {}", rule.place(title_of(&rule)), text::rule_state(rule.ended.as_deref()));
        let label = text::delete_rule(&sentence);
        let delete = move |_| self.delete(rule.id.clone(), focus);
        view! {
            <li>
                <strong>{sentence}</strong>
                <span class="about">{about}</span>
                <button type="button" aria-label=label on:click=delete>{text::DELETE}</button>
            </li>
        }
        .into_any()
    }
}

/// Identifies a rule in a list, where it is drawn again when it has changed.
fn key_of(rule: &Rule) -> Key {
    format!("{} {} {}", rule.id, rule.revision, rule.ended.as_deref().unwrap_or_default()).into()
}
