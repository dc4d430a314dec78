//! Signing in, and making an account.

use leptos::{ev::SubmitEvent, prelude::*, task::spawn_local};

use crate::{
    api::{self, Failure},
    app::{Brand, Who},
};

#[component]
pub(crate) fn SignIn(who: RwSignal<Who>, notice: Option<&'static str>) -> impl IntoView {
    let is_new = RwSignal::new(false);
    let is_open = RwSignal::new(false);
    let is_busy = RwSignal::new(false);
    let failure = RwSignal::new(Failure::default());
    let (name, password) = (NodeRef::new(), NodeRef::new());
    spawn_local(async move {
        is_open.set(api::site().await.is_ok_and(|site| site.registration == "open"));
    });
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        if is_busy.get_untracked() {
            return;
        }
        let value =
            |input: NodeRef<leptos::html::Input>| input.get_untracked().map(|it| it.value()).unwrap_or_default();
        let (given_name, given_password) = (value(name), value(password));
        is_busy.set(true);
        failure.set(Failure::default());
        spawn_local(async move {
            let answer = api::sign_in(given_name.trim(), &given_password, is_new.get_untracked()).await;
            is_busy.set(false);
            match answer {
                Ok(me) => who.set(Who::Somebody(me)),
                Err(refused) => {
                    let first = if refused.fields.contains_key("password") { password } else { name };
                    failure.set(refused);
                    if let Some(input) = first.get_untracked() {
                        let _ = input.focus();
                    }
                }
            }
        });
    };
    let switch = move |_| {
        is_new.update(|is_new| *is_new = !*is_new);
        failure.set(Failure::default());
    };
    let title = move || if is_new.get() { "Make an account" } else { "Sign in" };
    let general = move || failure.with(|it| if it.fields.is_empty() { it.message.clone() } else { String::new() });
    view! {
        <main class="narrow">
            <h1><Brand/></h1>
            <p class="lead">"Live odds of every bookmaker of four regions."</p>
            <form class="card" on:submit=submit aria-labelledby="sign-in-title" novalidate>
                <h2 id="sign-in-title">{title}</h2>
                {notice.map(|notice| view! { <p class="notice" role="status">{notice}</p> })}
                <Field failure field="name" label="Name or e-mail">
                    <input
                        id="name" name="username" type="text" autocomplete="username" autocapitalize="none"
                        spellcheck="false" required node_ref=name
                        aria-invalid=move || failure.with(|it| it.fields.contains_key("name")).to_string()
                        aria-describedby="name-error"
                    />
                </Field>
                <Field failure field="password" label="Password">
                    <input
                        id="password" name="password" type="password" required node_ref=password
                        autocomplete=move || if is_new.get() { "new-password" } else { "current-password" }
                        aria-invalid=move || failure.with(|it| it.fields.contains_key("password")).to_string()
                        aria-describedby="password-error password-hint"
                    />
                </Field>
                <p class="hint" id="password-hint">
                    {move || if is_new.get() { "At least 10 characters; three or four words are fine." } else { "" }}
                </p>
                <p class="error" role="alert">{general}</p>
                <button class="primary" type="submit" aria-busy=move || is_busy.get().to_string()>{title}</button>
                <Show when=move || is_open.get()>
                    <p>
                        <button class="link" type="button" on:click=switch>
                            {move || if is_new.get() { "Sign in instead" } else { "Make an account instead" }}
                        </button>
                    </p>
                </Show>
            </form>
        </main>
    }
}

/// An input with its label, and what is wrong with it.
#[component]
pub(crate) fn Field(
    failure: RwSignal<Failure>,
    field: &'static str,
    label: &'static str,
    children: Children,
) -> impl IntoView {
    let reason = move || failure.with(|it| it.fields.get(field).cloned()).map(|reason| format!("{label} {reason}."));
    view! {
        <div class="field">
            <label for=field>{label}</label>
            {children()}
            <p class="error" id=format!("{field}-error")>{reason}</p>
        </div>
    }
}
