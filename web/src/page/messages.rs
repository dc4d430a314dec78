//! Where messages are sent, when, and what was sent.

use leptos::{prelude::*, task::spawn_local};

use super::{
    api::{self, Contact, Contacts, Failure, Message, QuietHours},
    form::{Form, Input},
    shared::{list, when},
    time,
};
use crate::{text, view::Key};

/// The fields of the forms. Each is an element's id.
const EMAIL: &str = "email_address";
const PHONE: &str = "phone_number";
const CODE: &str = "code";
const QUIET_FROM: &str = "quiet_from";
const QUIET_UNTIL: &str = "quiet_until";

/// A way to reach the user.
#[derive(Clone, Copy, PartialEq)]
enum Channel {
    Email,
    Sms,
}

impl Channel {
    fn key(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Sms => "sms",
        }
    }

    fn of(self, contacts: &Contacts) -> Option<Contact> {
        match self {
            Self::Email => contacts.email.clone(),
            Self::Sms => contacts.sms.clone(),
        }
    }
}

/// The state of the section. Copies are handles to the same.
#[derive(Clone, Copy)]
struct Section {
    contacts: RwSignal<Contacts>,
    messages: RwSignal<Vec<Message>>,
    /// What went wrong with a button, or what it did.
    failure: RwSignal<String>,
    said: RwSignal<&'static str>,
}

#[component]
pub(crate) fn Messages() -> impl IntoView {
    let section = Section {
        contacts: RwSignal::default(),
        messages: RwSignal::default(),
        failure: RwSignal::new(String::new()),
        said: RwSignal::new(""),
    };
    section.act(async move { api::contacts().await.map(|it| section.take(it)) });
    section.load();
    view! {
        <section class="card" aria-labelledby="messages-title">
            <h3 id="messages-title">{text::MESSAGES}</h3>
            <p class="hint">{text::ABOUT_MESSAGES}</p>
            {section.contact(Channel::Email)}
            {section.email_form()}
            {section.contact(Channel::Sms)}
            {when(move || section.is_unconfirmed(Channel::Sms), move || section.code_form())}
            {section.phone_form()}
            <p class="error" role="alert">{section.failure}</p>
            <p role="status">{section.said}</p>
        </section>
        <section class="card" aria-labelledby="quiet-title">
            <h3 id="quiet-title">{text::QUIET_HOURS}</h3>
            <p class="hint">{move || section.quiet_hours()}</p>
            {section.quiet_form()}
        </section>
        <section class="card" aria-labelledby="sent-title">
            <h3 id="sent-title">{text::SENT_MESSAGES}</h3>
            <p class="hint" class:hidden=move || !section.messages.with(Vec::is_empty)>{text::NO_MESSAGES}</p>
            <ul class="tokens">{section.list()}</ul>
        </section>
    }
}

impl Section {
    /// Does what a button asks for, and says what went wrong.
    fn act(self, done: impl Future<Output = Result<(), Failure>> + 'static) {
        spawn_local(async move {
            let failed = done.await.err().map(|failure| failure.message).unwrap_or_default();
            if !failed.is_empty() {
                self.said.try_set("");
            }
            self.failure.try_set(failed);
        });
    }

    fn take(self, contacts: Contacts) {
        self.contacts.try_set(contacts);
        self.load();
    }

    fn load(self) {
        spawn_local(async move {
            // Without messages at this gateway, there are none to list.
            if let Ok(messages) = api::messages().await {
                self.messages.try_set(messages);
            }
        });
    }

    fn is_unconfirmed(self, channel: Channel) -> bool {
        self.contacts.with(|contacts| channel.of(contacts).is_some_and(|it| !it.confirmed))
    }

    /// An address with what can be done with it.
    fn contact(self, channel: Channel) -> AnyView {
        let shown = move || {
            let contact = self.contacts.with(|contacts| channel.of(contacts))?;
            let state = if contact.confirmed { text::CONFIRMED } else { text::NOT_CONFIRMED };
            let (what, label) = match contact.confirmed {
                true => ("test", text::SEND_TEST),
                false => ("confirmation", text::SEND_CONFIRMATION),
            };
            let send = move |_| {
                self.act(async move {
                    api::ask_for_message(channel.key(), what).await?;
                    self.said.try_set(text::WILL_BE_SENT);
                    self.load();
                    Ok(())
                });
            };
            let wants = move |event| {
                let changes = api::ContactChanges::alerts(channel.key(), event_target_checked(&event));
                self.act(async move { api::change_contacts(&changes).await.map(|it| self.take(it)) });
            };
            Some(view! {
                <p class="contact">
                    <strong>{contact.address}</strong>
                    " "
                    <span class="about">{state}</span>
                    " "
                    <button type="button" on:click=send>{label}</button>
                    <label class="chip" class:hidden=!contact.confirmed>
                        <input type="checkbox" prop:checked=contact.alerts on:change=wants/>
                        <span>{text::SEND_ALERTS}</span>
                    </label>
                </p>
            })
        };
        shown.into_any()
    }

    fn email_form(self) -> AnyView {
        let inputs = [
            Input::text(EMAIL, text::EMAIL_ADDRESS, "email"),
            Input::secret("email_password", text::YOUR_PASSWORD, "current-password"),
        ];
        Form::new().view(&inputs, text::SAVE_EMAIL.into(), false, move |given| {
            Box::pin(async move {
                let contacts = api::set_email(given[0].trim(), &given[1]).await.map_err(|it| at(EMAIL, it))?;
                self.take(contacts);
                Ok(if given[0].trim().is_empty() { text::ADDRESS_REMOVED } else { text::LINK_SENT })
            })
        })
    }

    fn phone_form(self) -> AnyView {
        let inputs = [Input::text(PHONE, text::PHONE_NUMBER, "tel")];
        Form::new().view(&inputs, text::SAVE_PHONE.into(), false, move |given| {
            Box::pin(async move {
                let contacts = api::set_sms(given[0].trim()).await.map_err(|it| at(PHONE, it))?;
                self.take(contacts);
                Ok(if given[0].trim().is_empty() { text::ADDRESS_REMOVED } else { text::CODE_SENT })
            })
        })
    }

    fn code_form(self) -> AnyView {
        let inputs = [Input::text(CODE, text::CODE, "one-time-code")];
        Form::new().view(&inputs, text::CONFIRM_NUMBER.into(), false, move |given| {
            Box::pin(async move {
                self.take(api::enter_code(given[0].trim()).await?);
                Ok("")
            })
        })
    }

    fn quiet_hours(self) -> String {
        self.contacts.with(|contacts| match &contacts.quiet_hours {
            Some(quiet) => text::quiet_now(&quiet.from, &quiet.until, &quiet.time_zone),
            None => text::ABOUT_QUIET_HOURS.to_owned(),
        })
    }

    fn quiet_form(self) -> AnyView {
        let inputs =
            [Input::text(QUIET_FROM, text::QUIET_FROM, "off"), Input::text(QUIET_UNTIL, text::QUIET_UNTIL, "off")];
        Form::new().view(&inputs, text::SAVE_QUIET_HOURS.into(), false, move |given| {
            Box::pin(async move {
                let [from, until] = [given[0].trim().to_owned(), given[1].trim().to_owned()];
                let quiet = (!from.is_empty() || !until.is_empty()).then(|| QuietHours {
                    from,
                    until,
                    time_zone: time::zone_name(),
                });
                let changes = api::ContactChanges::quiet(quiet);
                self.take(api::change_contacts(&changes).await.map_err(|it| at(QUIET_FROM, it))?);
                Ok(text::SAVED)
            })
        })
    }

    fn list(self) -> AnyView {
        let key_of = |it: &Message| Key::from(format!("{} {} {}", it.channel, it.id, it.changed_at));
        let keys = move || self.messages.with(|all| all.iter().map(key_of).collect());
        list(keys, move |key| {
            let message = self.messages.with_untracked(|all| all.iter().find(|it| key_of(it) == key).cloned());
            message.map(message_view).into_any()
        })
    }
}

/// What the gateway says about the only field of a form is shown there, whatever it calls the field.
fn at(field: &'static str, mut failure: Failure) -> Failure {
    if let Some(reason) = ["address", "quiet_hours"].into_iter().find_map(|name| failure.fields.remove(name)) {
        failure.fields.insert(field.to_owned(), reason);
    }
    failure
}

fn message_view(message: Message) -> impl IntoView {
    let when = time::day_and_clock(message.changed_at, time::now());
    let about = message.about.clone().unwrap_or_default();
    let detail = message.detail.filter(|_| message.state != "sent" && message.state != "delivered");
    view! {
        <li>
            <strong>{text::message_kind(&message.kind)} " " {about}</strong>
            <span class="about">
                {text::message_went(&message.recipient, text::message_state(&message.state), &when)}
                {detail.map(|detail| format!(" ({detail})"))}
            </span>
        </li>
    }
}
