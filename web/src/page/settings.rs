//! The settings: tokens, the password, signing out everywhere, and deleting the account.

use leptos::{ev::MouseEvent, lazy, prelude::*, task::spawn_local};

use super::{
    api::{self, Token},
    form::{Form, Input},
    messages::Messages,
    shared::{later, list},
    time,
    who::Who,
};
use crate::{text, view::Key};

#[component]
pub(crate) fn Settings(who: RwSignal<Who>, name: String) -> impl IntoView {
    view! {
        <main class="settings">
            <h2>{text::SETTINGS}</h2>
            <p class="lead">{text::SIGNED_IN_AS} " " <strong>{name}</strong></p>
            {later(messages())}
            <Tokens/>
            <Password/>
            <Ends who/>
        </main>
    }
}

/// Loaded by itself, because it is as large as all other settings.
#[lazy]
fn messages() -> AnyView {
    view! { <Messages/> }.into_any()
}

#[component]
fn Tokens() -> impl IntoView {
    let tokens: RwSignal<Vec<Token>> = RwSignal::new(Vec::new());
    let made = RwSignal::new(String::new());
    let form = Form::new();
    let load = move || {
        spawn_local(async move {
            match api::tokens().await {
                Ok(list) => drop(tokens.try_set(list)),
                Err(failed) => drop(form.failure.try_set(failed)),
            }
        });
    };
    load();
    let inputs = [
        Input::text("name", text::TOKEN_NAME, "off"),
        Input::secret("token_password", text::YOUR_PASSWORD, "current-password"),
    ];
    let make = form.view(&inputs, text::MAKE_TOKEN.into(), false, move |given| {
        Box::pin(async move {
            let token = api::make_token(&given[0], &given[1]).await?;
            made.try_set(token.token.unwrap_or_default());
            load();
            Ok(text::COPY_TOKEN)
        })
    });
    let revoke = move |id: String| {
        spawn_local(async move {
            match api::revoke_token(&id).await {
                Ok(()) => load(),
                Err(failed) => drop(form.failure.try_set(failed)),
            }
        });
    };
    let ids = move || tokens.with(|tokens| tokens.iter().map(key_of).collect());
    let draw = move |key: Key| {
        let token = tokens.with_untracked(|tokens| tokens.iter().find(|token| key_of(token) == key).cloned());
        token
            .map(|token| {
                let id = token.id.clone();
                token_view(token, move |_| revoke(id.clone()))
            })
            .into_any()
    };
    view! {
        <section class="card" aria-labelledby="tokens">
            <h3 id="tokens">{text::TOKENS}</h3>
            <p class="hint">{text::ABOUT_TOKENS}</p>
            {make}
            <code class="secret" class:hidden=move || made.with(String::is_empty)>{made}</code>
            <ul class="tokens">
                {list(ids, draw)}
            </ul>
        </section>
    }
}

/// Returns a token's list key. It includes the time of last use, so that the item is redrawn when that changes.
fn key_of(token: &Token) -> Key {
    let used = token.used_at.map(|at| at.to_string());
    format!("{} {}", token.id, used.unwrap_or_default()).into()
}

fn token_view(token: Token, revoke: impl FnMut(MouseEvent) + 'static) -> impl IntoView {
    let day = |at| time::day_and_clock(at, time::now());
    let about = text::about_token(&day(token.created_at), token.used_at.map(day));
    let label = text::revoke(&token.name);
    view! {
        <li>
            <strong>{token.name}</strong>
            <span class="about">{about}</span>
            <button aria-label=label on:click=revoke>{text::REVOKE}</button>
        </li>
    }
}

#[component]
fn Password() -> impl IntoView {
    let inputs = [
        Input::secret("current_password", text::CURRENT_PASSWORD, "current-password"),
        Input::secret("new_password", text::NEW_PASSWORD, "new-password"),
    ];
    let form = Form::new().view(&inputs, text::CHANGE_PASSWORD.into(), false, |given| {
        Box::pin(async move {
            api::change_password(&given[0], &given[1]).await?;
            Ok(text::PASSWORD_CHANGED)
        })
    });
    view! {
        <section class="card" aria-labelledby="password-title">
            <h3 id="password-title">{text::PASSWORD}</h3>
            {form}
        </section>
    }
}

#[component]
fn Ends(who: RwSignal<Who>) -> impl IntoView {
    let form = Form::new();
    let sign_out = move |_| {
        spawn_local(async move {
            match api::sign_out(true).await {
                Ok(()) => who.set(Who::Nobody { notice: Some(text::SIGNED_OUT_EVERYWHERE) }),
                Err(failed) => drop(form.failure.try_set(failed)),
            }
        });
    };
    let label = text::DELETE_PASSWORD;
    let inputs = [Input::secret("password", label, "current-password")];
    let delete = form.view(&inputs, text::DELETE_ACCOUNT.into(), true, move |given| {
        Box::pin(async move {
            api::delete_account(&given[0]).await?;
            who.set(Who::Nobody { notice: Some(text::ACCOUNT_DELETED) });
            Ok("")
        })
    });
    view! {
        <section class="card" aria-labelledby="ends">
            <h3 id="ends">{text::SESSIONS}</h3>
            <p><button on:click=sign_out>{text::SIGN_OUT_EVERYWHERE}</button></p>
            {delete}
        </section>
    }
}
