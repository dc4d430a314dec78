//! The settings: tokens, the password, signing out everywhere, and deleting the account.

use leptos::{ev::MouseEvent, prelude::*, task::spawn_local};

use super::{
    api::{self, Token},
    browser,
    form::{Form, Input},
    shared::list,
    who::Who,
};
use crate::view::Key;

#[component]
pub(crate) fn Settings(who: RwSignal<Who>, name: String) -> impl IntoView {
    view! {
        <main class="settings">
            <h2>"Settings"</h2>
            <p class="lead">"Signed in as " <strong>{name}</strong></p>
            <Tokens/>
            <Password/>
            <Ends who/>
        </main>
    }
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
        Input::text("name", "Name of the token", "off"),
        Input::secret("token_password", "Your password", "current-password"),
    ];
    let make = form.view(&inputs, "Make a token".into(), false, move |given| {
        Box::pin(async move {
            let token = api::make_token(&given[0], &given[1]).await?;
            made.try_set(token.token.unwrap_or_default());
            load();
            Ok("Copy it now; it is shown this once:")
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
            <h3 id="tokens">"Tokens for programs"</h3>
            <p class="hint">"A program signs in with a token instead of your password. It can't change your account."</p>
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
    let day = |at| format!("{} {}", browser::day(at, browser::now()), browser::clock(at));
    let used = token.used_at.map_or("never used".to_owned(), |at| format!("last used {}", day(at)));
    let about = format!("made {}, {used}", day(token.created_at));
    let label = format!("Revoke {}", token.name);
    view! {
        <li>
            <strong>{token.name}</strong>
            <span class="about">{about}</span>
            <button aria-label=label on:click=revoke>"Revoke"</button>
        </li>
    }
}

#[component]
fn Password() -> impl IntoView {
    let inputs = [
        Input::secret("current_password", "Current password", "current-password"),
        Input::secret("new_password", "New password", "new-password"),
    ];
    let form = Form::new().view(&inputs, "Change the password".into(), false, |given| {
        Box::pin(async move {
            api::change_password(&given[0], &given[1]).await?;
            Ok("The password is changed. Everywhere else you are signed out.")
        })
    });
    view! {
        <section class="card" aria-labelledby="password-title">
            <h3 id="password-title">"Password"</h3>
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
                Ok(()) => who.set(Who::Nobody { notice: Some("You are signed out everywhere.") }),
                Err(failed) => drop(form.failure.try_set(failed)),
            }
        });
    };
    let label = "Password, to delete the account with all that belongs to it";
    let inputs = [Input::secret("password", label, "current-password")];
    let delete = form.view(&inputs, "Delete my account".into(), true, move |given| {
        Box::pin(async move {
            api::delete_account(&given[0]).await?;
            who.set(Who::Nobody { notice: Some("Your account is deleted.") });
            Ok("")
        })
    });
    view! {
        <section class="card" aria-labelledby="ends">
            <h3 id="ends">"Sessions and account"</h3>
            <p><button on:click=sign_out>"Sign out everywhere"</button></p>
            {delete}
        </section>
    }
}
