//! The name and its sign.

use leptos::prelude::*;

#[component]
pub(crate) fn Brand() -> impl IntoView {
    view! {
        <span class="brand">
            <svg viewBox="0 0 32 32" aria-hidden="true" focusable="false">
                <rect x="2" y="4" width="28" height="24" rx="4"/>
                <path d="M8 12h9M8 20h9M21 9l3 3 3-3M21 23l3-3 3 3"/>
            </svg>
            "Toteboard"
        </span>
    }
}
