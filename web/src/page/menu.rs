//! The menus of the rail. Their content is loaded when one of them is first opened.

use leptos::{lazy, prelude::*};

use super::{
    choices::bookmakers,
    columns::columns,
    shared::{later, when},
    stream::Stream,
};
use crate::text;

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Menu {
    /// Which bookmakers are shown.
    Bookmakers,
    /// Which have columns, and which of these come first.
    Columns,
}

pub(crate) fn menu(stream: Stream, which: Menu) -> AnyView {
    let (class, label) = match which {
        Menu::Bookmakers => ("menu", text::BOOKMAKERS),
        Menu::Columns => ("menu columns", text::COLUMNS),
    };
    let count = move || match which {
        Menu::Bookmakers => stream.query.with(|query| query.bookmakers.len()),
        Menu::Columns => 0,
    };
    let about = move || match count() {
        0 => String::new(),
        count => format!(" ({count})"),
    };
    let opened = RwSignal::new(false);
    view! {
        <details class=class name="menu" on:toggle=move |_| opened.set(true)>
            <summary>{label} {about}</summary>
            <fieldset>
                <legend class="unseen">{label}</legend>
                {when(move || opened.get(), move || later(content(stream, which)))}
            </fieldset>
        </details>
    }
    .into_any()
}

#[lazy]
fn content(stream: Stream, which: Menu) -> AnyView {
    match which {
        Menu::Bookmakers => bookmakers(stream),
        Menu::Columns => columns(stream),
    }
}
