//! The form for signing in and for registering.

use leptos::{prelude::*, task::spawn_local};

use super::{
    api,
    brand::Brand,
    form::{Form, Input},
    who::Who,
};

#[component]
pub(crate) fn SignIn(who: RwSignal<Who>, notice: Option<&'static str>) -> impl IntoView {
    let is_new = RwSignal::new(false);
    let is_open = RwSignal::new(false);
    let form = Form::new();
    spawn_local(async move {
        let site = api::site().await;
        is_open.try_set(site.is_ok_and(|site| site.registration == "open"));
    });
    let switch = move |_| {
        is_new.update(|is_new| *is_new = !*is_new);
        form.failure.set(api::Failure::default());
    };
    let either = |new: &'static str, old: &'static str| Signal::derive(move || if is_new.get() { new } else { old });
    let title = either("Make an account", "Sign in");
    let password = Input {
        autocomplete: either("new-password", "current-password"),
        hint: either("At least 12 characters; three or four words are fine.", ""),
        ..Input::secret("password", "Password", "")
    };
    let inputs = [Input::text("name", "Name or e-mail", "username"), password];
    let view = form.view(&inputs, title, false, move |given| {
        Box::pin(async move {
            let me = api::sign_in(given[0].trim(), &given[1], is_new.get_untracked()).await?;
            who.set(Who::Somebody(me));
            Ok("")
        })
    });
    view! {
        <main class="narrow">
            <h1><Brand/></h1>
            <p class="lead">"Live odds of every bookmaker of four regions."</p>
            <section class="card" aria-labelledby="sign-in-title">
                <h2 id="sign-in-title">{title}</h2>
                {notice.map(|notice| view! { <p class="notice" role="status">{notice}</p> })}
                {view}
                <p class:hidden=move || !is_open.get()>
                    <button class="link" type="button" on:click=switch>
                        {either("Sign in instead", "Make an account instead")}
                    </button>
                </p>
            </section>
        </main>
    }
}
