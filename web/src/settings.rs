//! Tokens, the password, and the end of sessions and of the account.

use leptos::{ev::SubmitEvent, html, prelude::*, task::spawn_local};

use crate::{
    api::{self, Failure, Token},
    app::Who,
    browser,
    sign_in::Field,
};

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

fn value(input: NodeRef<html::Input>) -> String {
    input.try_get_untracked().flatten().map(|input| input.value()).unwrap_or_default()
}

fn empty(input: NodeRef<html::Input>) {
    // The page may be another by now.
    if let Some(Some(input)) = input.try_get_untracked() {
        input.set_value("");
    }
}

fn general(failure: &Failure) -> String {
    if failure.fields.is_empty() { failure.message.clone() } else { String::new() }
}

#[component]
fn Tokens() -> impl IntoView {
    let tokens: RwSignal<Vec<Token>> = RwSignal::new(Vec::new());
    let made: RwSignal<Option<Token>> = RwSignal::new(None);
    let failure = RwSignal::new(Failure::default());
    let input = NodeRef::new();
    let load = move || {
        spawn_local(async move {
            match api::tokens().await {
                Ok(list) => tokens.set(list),
                Err(failed) => failure.set(failed),
            }
        });
    };
    load();
    let make = move |event: SubmitEvent| {
        event.prevent_default();
        let name = value(input);
        spawn_local(async move {
            match api::make_token(&name).await {
                Ok(token) => {
                    failure.set(Failure::default());
                    made.set(Some(token));
                    empty(input);
                    load();
                }
                Err(mut failed) => {
                    // Here the field has a name of its own.
                    if let Some(reason) = failed.fields.remove("name") {
                        failed.fields.insert("token-name".into(), reason);
                    }
                    failure.set(failed);
                }
            }
        });
    };
    let revoke = move |id: String| {
        spawn_local(async move {
            match api::revoke_token(&id).await {
                Ok(()) => load(),
                Err(failed) => failure.set(failed),
            }
        });
    };
    view! {
        <section class="card" aria-labelledby="tokens">
            <h3 id="tokens">"Tokens for programs"</h3>
            <p class="hint">"A program signs in with a token instead of your password. It can't change your account."</p>
            <form on:submit=make novalidate>
                <Field failure field="token-name" label="Name of the token">
                    <input id="token-name" type="text" autocomplete="off" node_ref=input aria-describedby="token-name-error"/>
                </Field>
                <button class="primary" type="submit">"Make a token"</button>
            </form>
            <p class="error" role="alert">{move || failure.with(general)}</p>
            <div role="status">
                {move || {
                    made.get().and_then(|token| token.token).map(|text| {
                        view! {
                            <p class="notice">"Copy it now; it is shown this once: " <code class="secret">{text}</code></p>
                        }
                    })
                }}
            </div>
            <ul class="tokens">
                <For each=move || tokens.get() key=|token| (token.id.clone(), token.used_at) let:token>
                    {
                        let id = token.id.clone();
                        let day = |at| format!("{} {}", browser::day(at, browser::now()), browser::clock(at));
                        let used = token.used_at.map_or("never used".to_owned(), |at| format!("last used {}", day(at)));
                        let about = format!("made {}, {used}", day(token.created_at));
                        let label = format!("Revoke {}", token.name);
                        view! {
                            <li>
                                <strong>{token.name}</strong>
                                <span class="about">{about}</span>
                                <button aria-label=label on:click=move |_| revoke(id.clone())>"Revoke"</button>
                            </li>
                        }
                    }
                </For>
            </ul>
        </section>
    }
}

#[component]
fn Password() -> impl IntoView {
    let failure = RwSignal::new(Failure::default());
    let done = RwSignal::new(false);
    let (current, new) = (NodeRef::new(), NodeRef::new());
    let change = move |event: SubmitEvent| {
        event.prevent_default();
        let (was, becomes) = (value(current), value(new));
        spawn_local(async move {
            let changed = api::change_password(&was, &becomes).await;
            done.set(changed.is_ok());
            if changed.is_ok() {
                empty(current);
                empty(new);
            }
            failure.set(changed.err().unwrap_or_default());
        });
    };
    view! {
        <section class="card" aria-labelledby="password-title">
            <h3 id="password-title">"Password"</h3>
            <form on:submit=change novalidate>
                <Field failure field="current_password" label="Current password">
                    <input
                        id="current_password" type="password" autocomplete="current-password" node_ref=current
                        aria-describedby="current_password-error"
                    />
                </Field>
                <Field failure field="new_password" label="New password">
                    <input
                        id="new_password" type="password" autocomplete="new-password" node_ref=new
                        aria-describedby="new_password-error"
                    />
                </Field>
                <p class="error" role="alert">{move || failure.with(general)}</p>
                <p role="status">
                    {move || if done.get() { "The password is changed. Everywhere else you are signed out." } else { "" }}
                </p>
                <button class="primary" type="submit">"Change the password"</button>
            </form>
        </section>
    }
}

#[component]
fn Ends(who: RwSignal<Who>) -> impl IntoView {
    let failure = RwSignal::new(Failure::default());
    let password = NodeRef::new();
    let sign_out = move |_| {
        spawn_local(async move {
            match api::sign_out(true).await {
                Ok(()) => who.set(Who::Nobody { notice: Some("You are signed out everywhere.") }),
                Err(failed) => failure.set(failed),
            }
        });
    };
    let delete = move |event: SubmitEvent| {
        event.prevent_default();
        let given = value(password);
        spawn_local(async move {
            match api::delete_account(&given).await {
                Ok(()) => who.set(Who::Nobody { notice: Some("Your account is deleted.") }),
                Err(failed) => failure.set(failed),
            }
        });
    };
    view! {
        <section class="card" aria-labelledby="ends">
            <h3 id="ends">"Sessions and account"</h3>
            <p><button on:click=sign_out>"Sign out everywhere"</button></p>
            <form on:submit=delete novalidate>
                <Field failure field="password" label="Password, to delete the account with all that belongs to it">
                    <input
                        id="password" type="password" autocomplete="current-password" node_ref=password
                        aria-describedby="password-error"
                    />
                </Field>
                <p class="error" role="alert">{move || failure.with(general)}</p>
                <button class="danger" type="submit">"Delete my account"</button>
            </form>
        </section>
    }
}
