//! A form: labelled inputs, each with its error, and the result of submitting. All forms share this code, so that they
//! behave alike and are compiled only once.

use std::{future::Future, pin::Pin, sync::Arc};

use leptos::{ev::SubmitEvent, prelude::*, task::spawn_local};

use super::{api::Failure, browser};

/// One input of a form.
#[derive(Clone, Copy)]
pub(crate) struct Input {
    /// The field's name in the server's errors, also the element's id, and so unique on the page.
    pub(crate) field: &'static str,
    pub(crate) label: &'static str,
    pub(crate) is_secret: bool,
    /// The HTML `autocomplete` attribute, for password managers.
    pub(crate) autocomplete: Signal<&'static str>,
    pub(crate) hint: Signal<&'static str>,
}

impl Input {
    pub(crate) fn text(field: &'static str, label: &'static str, autocomplete: &'static str) -> Self {
        Self { field, label, is_secret: false, autocomplete: autocomplete.into(), hint: "".into() }
    }

    pub(crate) fn secret(field: &'static str, label: &'static str, autocomplete: &'static str) -> Self {
        Self { is_secret: true, ..Self::text(field, label, autocomplete) }
    }
}

/// The result of submitting: a message to show on success.
type Answer = Pin<Box<dyn Future<Output = Result<&'static str, Failure>>>>;

/// The state of a form.
#[derive(Clone, Copy)]
pub(crate) struct Form {
    pub(crate) failure: RwSignal<Failure>,
    done: RwSignal<String>,
    is_busy: RwSignal<bool>,
}

impl Form {
    pub(crate) fn new() -> Self {
        Self { failure: RwSignal::default(), done: RwSignal::new(String::new()), is_busy: RwSignal::new(false) }
    }

    /// Says what was done, in the place of what went wrong.
    pub(crate) fn say(self, done: &str) {
        self.failure.try_set(Failure::default());
        self.done.try_set(done.to_owned());
    }

    /// Returns the view. `send` gets the values of the inputs, in order.
    pub(crate) fn view(
        self,
        inputs: &[Input],
        button: Signal<&'static str>,
        is_danger: bool,
        send: impl Fn(Vec<String>) -> Answer + 'static,
    ) -> AnyView {
        let fields: Vec<AnyView> = inputs.iter().map(|input| self.field(*input)).collect();
        let names: Vec<&'static str> = inputs.iter().map(|input| input.field).collect();
        // If no input is named as wrong, it is most likely a password.
        let likely = inputs.iter().find(|input| input.is_secret).or(inputs.first()).map(|input| input.field);
        let general =
            move || self.failure.with(|it| if it.fields.is_empty() { it.message.clone() } else { String::new() });
        let send: Arc<dyn Fn(Vec<String>) -> Answer> = Arc::new(send);
        let submit = move |event: SubmitEvent| {
            event.prevent_default();
            if !self.is_busy.get_untracked() {
                spawn_local(self.submit(names.clone(), likely, send.clone()));
            }
        };
        view! {
            <form on:submit=submit novalidate>
                {fields}
                <p class="error" role="alert">{general}</p>
                <button class=if is_danger { "danger" } else { "primary" } type="submit">{button}</button>
                <p role="status">{self.done}</p>
            </form>
        }
        .into_any()
    }

    fn field(self, input: Input) -> AnyView {
        let Input { field, label, is_secret, autocomplete, hint } = input;
        let reason = move || self.failure.with(|it| it.fields.get(field).cloned());
        let error = move || reason().map(|reason| format!("{label}: {reason}."));
        view! {
            <div class="field">
                <label for=field>{label}</label>
                <input
                    id=field name=field type=if is_secret { "password" } else { "text" } autocomplete=autocomplete
                    autocapitalize="none" spellcheck="false" required=""
                    aria-invalid=move || reason().is_some().to_string()
                    aria-describedby=format!("{field}-error {field}-hint")
                />
                <p class="error" id=format!("{field}-error")>{error}</p>
                <p class="hint" id=format!("{field}-hint")>{hint}</p>
            </div>
        }
        .into_any()
    }

    async fn submit(
        self,
        names: Vec<&'static str>,
        likely: Option<&'static str>,
        send: Arc<dyn Fn(Vec<String>) -> Answer>,
    ) {
        let given = |name: &&str| browser::input(name).map(|input| input.value()).unwrap_or_default();
        self.is_busy.set(true);
        self.failure.set(Failure::default());
        self.done.set(String::new());
        let answer = send(names.iter().map(given).collect()).await;
        // The form may have been removed in the meantime, hence `try_set`.
        self.is_busy.try_set(false);
        match answer {
            Ok(message) => {
                self.done.try_set(message.to_owned());
                for input in names.into_iter().filter_map(browser::input) {
                    input.set_value("");
                }
            }
            Err(failure) => {
                let wrong = names.into_iter().find(|name| failure.fields.contains_key(*name)).or(likely);
                let wrong = wrong.and_then(browser::input);
                self.failure.try_set(failure);
                if let Some(input) = wrong {
                    let _ = input.focus();
                }
            }
        }
    }
}
