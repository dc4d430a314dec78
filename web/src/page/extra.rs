//! Views that not all accounts have. Their code is not a part of the page: the gateway gives it to those who have them.
//! Such a view is a custom element, which gets what it shows as attributes.

use leptos::{lazy, prelude::*, task::spawn_local};
use send_wrapper::SendWrapper;

use super::{
    api::{self, ExtraView},
    browser,
    route::{Route, Router},
    shared::list,
    socket::{Client, SocketEvent},
    stream::Stream,
};
use crate::{text, view::Key};

const ELEMENT: &str = "extra";
/// How long the links wait for boards that don't come.
const ASK_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

/// The links to these views. They can wait for the boards.
#[lazy]
pub(crate) fn extra_links(stream: Stream, router: Router) -> AnyView {
    let views: RwSignal<Vec<ExtraView>> = RwSignal::new(Vec::new());
    let asked = StoredValue::new(false);
    let ask = move || {
        // The user may have signed out.
        if asked.try_get_value() != Some(false) {
            return;
        }
        asked.set_value(true);
        spawn_local(async move {
            if let Ok(found) = api::extra_views().await {
                views.try_set(found);
            }
        });
    };
    Effect::new(move |_| {
        if stream.loaded.get() {
            ask();
        }
    });
    set_timeout(ask, ASK_WITHIN);
    let names = move || views.with(|views| views.iter().map(|view| view.name.clone()).collect());
    let draw = move |name: Key| {
        let (to, here) = (Route::Extra(name.clone()), Route::Extra(name.clone()));
        let title = views.with_untracked(|views| views.iter().find(|it| it.name == name).map(|it| it.title.clone()));
        let is_here = move || (router.get() == here).then_some("page");
        view! { <a href=to.path() aria-current=is_here on:click=router.follow(to)>{title}</a> }.into_any()
    };
    list(names, draw)
}

/// Shows the view of this name.
pub(crate) fn view(name: Key) -> AnyView {
    let client = RwSignal::new_local(None::<SendWrapper<Client>>);
    let (refused, element) = (RwSignal::new(String::new()), RwSignal::new(String::new()));
    spawn_local(async move {
        let found = api::extra_views().await;
        // The user may have gone elsewhere.
        if client.is_disposed() {
            return;
        }
        match found {
            Ok(views) => match views.into_iter().find(|view| view.name == name) {
                Some(view) => {
                    browser::set_title(&view.title);
                    browser::load_from(&view.code);
                    element.set(["<toteboard-", &name, " id=", ELEMENT, "></toteboard-", &name, ">"].concat());
                    client.set(Some(SendWrapper::new(follow(view))));
                }
                None => refused.set(text::NO_VIEW.to_owned()),
            },
            Err(failure) => refused.set(failure.message),
        }
    });
    on_cleanup(move || {
        if let Some(Some(client)) = client.try_get_untracked() {
            client.stop();
        }
    });
    view! {
        <main>
            <p class="quiet" role="alert" class:hidden=move || refused.with(String::is_empty)>{refused}</p>
            <div inner_html=element></div>
        </main>
    }
    .into_any()
}

/// Gives the element what comes for it, on a connection without boards.
fn follow(view: ExtraView) -> Client {
    let auth = api::json(&view.auth);
    let auth = [r#"{"regions":[],"#, auth.get(1..).unwrap_or_default()].concat();
    let name = view.name;
    let set = |attribute, value: String| browser::set_attributes(ELEMENT, &[(attribute, value)]);
    Client::connect(
        api::socket_url(),
        move || auth.clone(),
        move |event| match event {
            SocketEvent::Event { name: event, payload } if *event == *name => {
                set("status", payload);
                set("connection", String::new());
            }
            SocketEvent::Disconnected => set("connection", text::RECONNECTING.to_owned()),
            SocketEvent::Ended => set("connection", text::OFFLINE.to_owned()),
            SocketEvent::Refused(reason) => set("connection", reason),
            SocketEvent::Event { .. } | SocketEvent::Connected | SocketEvent::Answer { .. } => {}
        },
    )
}
