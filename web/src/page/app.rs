//! The root of the page: who is signed in.

use leptos::{lazy, prelude::*, task::spawn_local};

use super::{
    api::{self, Failure, Me, Site},
    brand::Brand,
    browser,
    frame::Frame,
    kept,
    shared::later,
    sign_in::SignIn,
    who::Who,
};
use crate::{text, view::set_decimal_point};

/// How often a sign-out is tried that failed.
const SIGN_OUT_EVERY: std::time::Duration = std::time::Duration::from_secs(3);

#[component]
pub(crate) fn App() -> impl IntoView {
    set_decimal_point(super::time::decimal_point());
    let who = RwSignal::new(Who::Unknown);
    let look = move || {
        spawn_local(async move {
            sign_out_later().await;
            who.set(match api::site().await {
                Ok(Site { me: Some(me), .. }) if !browser::wants_to_sign_out() => Who::Somebody(me),
                Ok(_) => Who::Nobody { notice: None },
                Err(failure) => {
                    let me = kept::me().filter(|_| failure.code == api::UNREACHABLE);
                    me.map_or(Who::Unclear(failure), Who::Somebody)
                }
            });
        });
    };
    look();
    Effect::new(move |_| match who.get() {
        Who::Somebody(me) => browser::keep(browser::ME, &api::json(&me)),
        Who::Nobody { .. } => kept::forget(),
        Who::Unknown | Who::Unclear(_) => {}
    });
    set_interval(|| spawn_local(sign_out_later()), SIGN_OUT_EVERY);
    move || match who.get() {
        Who::Unknown => view! { <p class="quiet" role="status">{text::WAIT}</p> }.into_any(),
        Who::Unclear(failure) => view! {
            <main class="narrow">
                <Brand/>
                <p role="alert">{failure.message}</p>
                <button class="primary" on:click=move |_| look()>{text::TRY_AGAIN}</button>
            </main>
        }
        .into_any(),
        Who::Nobody { notice } => later(sign_in(who, notice)),
        Who::Somebody(me) => signed_in(who, me),
    }
}

#[lazy]
fn sign_in(who: RwSignal<Who>, notice: Option<&'static str>) -> AnyView {
    view! { <SignIn who notice/> }.into_any()
}

/// Signs out if the visitor wanted to while the gateway could not be reached.
async fn sign_out_later() {
    if browser::wants_to_sign_out() && is_signed_out(&api::sign_out(false).await) {
        browser::want_to_sign_out(false);
    }
}

fn is_signed_out(done: &Result<(), Failure>) -> bool {
    done.as_ref().map_or_else(|failure| failure.code == "unauthenticated", |()| true)
}

fn signed_in(who: RwSignal<Who>, me: Me) -> AnyView {
    let sign_out = move || {
        spawn_local(async move {
            let done = api::sign_out(false).await;
            // The connection may have told of it before: then the visitor may be signing in again.
            if !matches!(who.get_untracked(), Who::Somebody(_)) {
                return;
            }
            let notice = if is_signed_out(&done) {
                None
            } else {
                browser::want_to_sign_out(true);
                Some(text::SIGN_OUT_LATER)
            };
            who.set(Who::Nobody { notice });
        });
    };
    view! { <Frame who me sign_out=Callback::from(sign_out)/> }.into_any()
}
