//! A choice of one.

use leptos::prelude::*;

#[component]
pub(crate) fn OneOf(
    label: &'static str,
    options: Vec<(&'static str, &'static str)>,
    chosen: Signal<&'static str>,
    choose: Box<dyn Fn(String)>,
) -> impl IntoView {
    view! {
        <label class="select">
            <span class="unseen">{label}</span>
            <select prop:value=move || chosen.get() on:change=move |event| choose(event_target_value(&event))>
                {options
                    .into_iter()
                    .map(|(key, title)| view! { <option value=key selected=move || chosen.get() == key>{title}</option> })
                    .collect_view()}
            </select>
        </label>
    }
}
