//! The root of the page: who is signed in, and which view they see.

use leptos::{prelude::*, task::spawn_local};

use super::{
    api::{self, Me, Site},
    board::BoardPage,
    brand::Brand,
    choices::Regions,
    settings::Settings,
    shared::{either, when},
    sign_in::SignIn,
    stream::{Connection, Stream},
    who::Who,
};

const SETTINGS: &str = "#settings";

#[component]
pub(crate) fn App() -> impl IntoView {
    let who = RwSignal::new(Who::Unknown);
    let look = move || {
        spawn_local(async move {
            who.set(match api::site().await {
                Ok(Site { me: Some(me), .. }) => Who::Somebody(me),
                Ok(_) => Who::Nobody { notice: None },
                Err(failure) => Who::Unclear(failure),
            });
        });
    };
    look();
    move || match who.get() {
        Who::Unknown => view! { <p class="quiet" role="status">"One moment…"</p> }.into_any(),
        Who::Unclear(failure) => view! {
            <main class="narrow">
                <Brand/>
                <p role="alert">{failure.message}</p>
                <button class="primary" on:click=move |_| look()>"Try again"</button>
            </main>
        }
        .into_any(),
        Who::Nobody { notice } => view! { <SignIn who notice/> }.into_any(),
        Who::Somebody(me) => view! { <SignedIn who me/> }.into_any(),
    }
}

#[component]
fn SignedIn(who: RwSignal<Who>, me: Me) -> impl IntoView {
    let stream = Stream::start();
    let location = move || window().location().hash().unwrap_or_default();
    let page = RwSignal::new(location());
    let handle = window_event_listener_untyped("hashchange", move |_| page.set(location()));
    on_cleanup(move || handle.remove());
    Effect::new(move |_| {
        if !stream.signed_out.get() {
            return;
        }
        let look = move || {
            spawn_local(async move {
                match api::site().await {
                    // The password was changed on this page, which has a new session now.
                    Ok(Site { me: Some(_), .. }) => stream.connect_again(),
                    _ => who.set(Who::Nobody { notice: Some("You were signed out. Sign in to go on.") }),
                }
            });
        };
        // The new session's cookie may still be on its way.
        set_timeout(look, std::time::Duration::from_secs(1));
    });
    // Watching the board also counts as use of the session, so that it doesn't expire.
    let asked = set_interval_with_handle(|| spawn_local(async { drop(api::site().await) }), HOUR).ok();
    on_cleanup(move || {
        if let Some(asked) = asked {
            asked.clear();
        }
    });
    let sign_out = move |_| {
        spawn_local(async move {
            // Even if the request fails, the page shows the visitor as signed out.
            let _ = api::sign_out(false).await;
            who.set(Who::Nobody { notice: None });
        });
    };
    let at_settings = move || page.get() == SETTINGS;
    view! {
        <header class="top">
            {when(
                move || !at_settings(),
                || view! { <a class="skip" href="#board">"Skip to the board"</a> }.into_any(),
            )}
            <h1><a href="#" aria-label="Toteboard, to the board"><Brand/></a></h1>
            <State stream/>
            <Regions stream/>
            <nav aria-label="Account">
                {either(
                    at_settings,
                    || view! { <a href="#">"Board"</a> }.into_any(),
                    || view! { <a href=SETTINGS>"Settings"</a> }.into_any(),
                )}
                <button class="link" on:click=sign_out>"Sign out"</button>
            </nav>
        </header>
        {either(
            at_settings,
            move || view! { <Settings who name=me.name.clone()/> }.into_any(),
            move || view! { <BoardPage stream/> }.into_any(),
        )}
    }
}

const HOUR: std::time::Duration = std::time::Duration::from_secs(3_600);

/// The connection's state, which is always visible.
#[component]
fn State(stream: Stream) -> impl IntoView {
    let shown = move || match stream.connection.get() {
        Connection::Connecting => ("wait", "Connecting".to_owned()),
        // Connected, but the boards are not up to date yet.
        Connection::Live if !stream.loaded.get() => ("behind", "Live".to_owned()),
        Connection::Live => ("live", "Live".to_owned()),
        Connection::Reconnecting => ("wait", "Reconnecting".to_owned()),
        Connection::Offline => ("off", "Offline".to_owned()),
        Connection::Ended(reason) => ("off", format!("Not connected: {reason}")),
    };
    view! {
        <span class="state" role="status" data-state=move || shown().0>
            {move || shown().1}
        </span>
    }
}
