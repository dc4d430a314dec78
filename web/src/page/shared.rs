//! Helpers for views. They box their arguments, so that Leptos' generic code is compiled once and not for every use.

use std::{future::Future, sync::Arc};

use leptos::{prelude::*, reactive::computed::ScopedFuture, task::spawn_local};

use crate::view::Key;

/// Shows a list, and keeps each item's view while its key is in the list.
pub(crate) fn list(
    keys: impl Fn() -> Vec<Key> + Send + Sync + 'static,
    draw: impl Fn(Key) -> AnyView + Send + Sync + 'static,
) -> AnyView {
    keyed(Box::new(keys), Arc::new(draw))
}

fn keyed(keys: Box<dyn Fn() -> Vec<Key> + Send + Sync>, draw: Arc<dyn Fn(Key) -> AnyView + Send + Sync>) -> AnyView {
    view! { <For each=keys key=Clone::clone children=move |key| draw(key)/> }.into_any()
}

/// Shows one view while a condition holds and another while it doesn't. Redraws only when the condition changes.
pub(crate) fn either(
    holds: impl Fn() -> bool + Send + Sync + 'static,
    one: impl Fn() -> AnyView + Send + Sync + 'static,
    other: impl Fn() -> AnyView + Send + Sync + 'static,
) -> AnyView {
    one_of(Box::new(holds), Box::new(move |holds| if holds { one() } else { other() }))
}

/// Shows a view while a condition holds.
pub(crate) fn when(
    holds: impl Fn() -> bool + Send + Sync + 'static,
    view: impl Fn() -> AnyView + Send + Sync + 'static,
) -> AnyView {
    either(holds, view, || ().into_any())
}

fn one_of(holds: Box<dyn Fn() -> bool + Send + Sync>, draw: Box<dyn Fn(bool) -> AnyView + Send + Sync>) -> AnyView {
    let holds = Memo::new(move |_| holds());
    (move || draw(holds.get())).into_any()
}

/// Shows a view that is still to be loaded.
pub(crate) fn later(view: impl Future<Output = AnyView> + 'static) -> AnyView {
    arriving(Box::pin(view))
}

fn arriving(view: std::pin::Pin<Box<dyn Future<Output = AnyView>>>) -> AnyView {
    let came = RwSignal::new(false);
    let slot = StoredValue::new_local(None);
    spawn_local(ScopedFuture::new(async move {
        let view = view.await;
        if slot.try_set_value(Some(view)).is_none() {
            came.set(true);
        }
    }));
    (move || came.get().then(|| slot.try_update_value(Option::take).flatten())).into_any()
}
