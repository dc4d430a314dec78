//! The form for signing in and for registering.

use leptos::{
    prelude::*,
    task::{spawn_local, tick},
};

use super::{
    api,
    brand::Brand,
    browser,
    form::{Form, Input},
    who::Who,
};
use crate::text;

#[component]
pub(crate) fn SignIn(who: RwSignal<Who>, notice: Option<&'static str>) -> impl IntoView {
    browser::set_title(text::SIGN_IN);
    let is_new = RwSignal::new(false);
    let is_open = RwSignal::new(false);
    let form = Form::new();
    spawn_local(async move {
        let site = api::site().await;
        is_open.try_set(site.is_ok_and(|site| site.registration == "open"));
    });
    let arrive = move |me| {
        browser::want_to_sign_out(false);
        who.set(Who::Somebody(me));
        spawn_local(async {
            tick().await;
            browser::focus_on("board");
        });
    };
    if let Some(code) = browser::take_sign_in_code() {
        spawn_local(async move {
            match api::sign_in_with_code(&code).await {
                Ok(me) => arrive(me),
                Err(failure) => drop(form.failure.try_set(failure)),
            }
        });
    }
    let switch = move |_| {
        is_new.update(|is_new| *is_new = !*is_new);
        form.failure.set(api::Failure::default());
    };
    let forgot = move |_| {
        let name = browser::input("name").map(|input| input.value()).unwrap_or_default();
        if name.trim().is_empty() {
            form.failure.set(api::Failure { message: text::NAME_FIRST.into(), ..api::Failure::default() });
            return;
        }
        spawn_local(async move {
            match api::forgot_password(name.trim()).await {
                Ok(()) => form.say(text::FORGOTTEN),
                Err(failure) => drop(form.failure.try_set(failure)),
            }
        });
    };
    let either = |new: &'static str, old: &'static str| Signal::derive(move || if is_new.get() { new } else { old });
    let title = either(text::REGISTER, text::SIGN_IN);
    let password = Input {
        autocomplete: either("new-password", "current-password"),
        hint: either(text::PASSWORD_HINT, ""),
        ..Input::secret("password", text::PASSWORD, "")
    };
    let inputs = [Input::text("name", text::NAME_OR_EMAIL, "username"), password];
    let view = form.view(&inputs, title, false, move |given| {
        Box::pin(async move {
            let me = api::sign_in(given[0].trim(), &given[1], is_new.get_untracked()).await?;
            arrive(me);
            Ok("")
        })
    });
    view! {
        <main class="welcome">
            <section class="about-us">
                <h1><Brand/></h1>
                <p class="lead">{text::LEAD}</p>
                <ul>{text::WELCOME.map(|line| view! { <li>{line}</li> })}</ul>
                {sample()}
            </section>
            <section class="card" aria-labelledby="sign-in-title">
                <h2 id="sign-in-title">{title}</h2>
                {notice.map(|notice| view! { <p class="notice" role="status">{notice}</p> })}
                {view}
                <p class:hidden=is_new>
                    <button class="link" type="button" on:click=forgot>{text::FORGOT_PASSWORD}</button>
                </p>
                <p class:hidden=move || !is_open.get()>
                    <button class="link" type="button" on:click=switch>
                        {either(text::SIGN_IN_INSTEAD, text::REGISTER_INSTEAD)}
                    </button>
                </p>
            </section>
        </main>
    }
}

/// A piece of a board that moves, for those who can't see the real one yet.
fn sample() -> AnyView {
    let row = |(outcome, prices): (&'static str, [&'static str; 4])| {
        let best = prices.iter().max();
        let cell = |price: &&'static str| {
            let is_best = best == Some(price);
            view! { <span class="cell" class:best-price=is_best>{*price}</span> }
        };
        let cells: Vec<_> = prices.iter().map(cell).collect();
        view! { <div><span>{outcome}</span>{cells}</div> }
    };
    view! { <div class="sample" role="img" aria-label=text::SAMPLE>{text::SAMPLE_ROWS.map(row)}</div> }.into_any()
}
