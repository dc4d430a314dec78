//! The list of shortcuts.

use leptos::{html, prelude::*};

use crate::text;

#[component]
pub(crate) fn Help(help: RwSignal<bool>) -> impl IntoView {
    let node: NodeRef<html::Dialog> = NodeRef::new();
    Effect::new(move |_| {
        if let Some(dialog) = node.get() {
            // It is not open yet, and in the document.
            let _ = dialog.show_modal();
        }
    });
    let keys = text::KEYS.map(|(keys, what)| view! { <dt><kbd>{keys}</kbd></dt><dd>{what}</dd> }).collect_view();
    view! {
        <dialog node_ref=node class="help" aria-labelledby="help-title" on:close=move |_| help.set(false)>
            <h2 id="help-title">{text::SHORTCUTS}</h2>
            <dl>{keys}</dl>
            <form method="dialog"><button class="primary">{text::CLOSE}</button></form>
        </dialog>
    }
}
