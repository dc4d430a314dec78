//! The caller's addresses: where messages are sent, and when.

use std::sync::Arc;

use ::messages::{
    AccountChange, CODE_WITHIN_MS, CONFIRM_WITHIN_MS, Channel, Content, EmailAddress, Links, PASSWORD_WITHIN_MS,
    PhoneNumber,
};
use accounts::{AccountsError, Contact, ContactChanges, ContactKind, Contacts, QuietHours, User};
use axum::{
    Json,
    extract::{Path, State},
};
use http::StatusCode;
use odds::Timestamp;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error},
};
use serde_json::{Map, Value};
use tracing::warn;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    body::Body,
    caller::{By, Person},
    error::{ApiError, MessageRefusals, Refusals},
};
use crate::{
    messages::{Messages, message_to},
    session::AppState,
};

/// How long a test is worth something.
const TEST_WITHIN_MS: i64 = 3_600_000;

pub(super) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new()
        .routes(routes!(list, change))
        .routes(routes!(set_email, remove_email))
        .routes(routes!(set_sms, remove_sms))
        .routes(routes!(confirm_again))
        .routes(routes!(enter_code))
        .routes(routes!(test))
        .routes(routes!(forgot))
}

/// An address.
#[derive(Serialize, ToSchema)]
struct ListedContact {
    /// The e-mail address, or the number with its country's code.
    address: String,
    /// Whether it was shown to be yours. Nothing but the confirmation is sent to it before.
    confirmed: bool,
    /// Whether alerts are sent there, of rules that have this channel.
    alerts: bool,
}

/// Hours in which no alerts are sent.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct QuietTimes {
    /// As `22:00`.
    #[schema(pattern = "^[0-2][0-9]:[0-5][0-9]$")]
    from: String,
    /// As `07:00`.
    #[schema(pattern = "^[0-2][0-9]:[0-5][0-9]$")]
    until: String,
    /// As `Europe/London`.
    time_zone: String,
}

#[derive(Serialize, ToSchema)]
struct ListedContacts {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    email: Option<ListedContact>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sms: Option<ListedContact>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    quiet_hours: Option<QuietTimes>,
}

impl From<&Contacts> for ListedContacts {
    fn from(contacts: &Contacts) -> Self {
        let listed = |contact: &Contact| ListedContact {
            address: contact.address.clone(),
            confirmed: contact.confirmed_at.is_some(),
            alerts: contact.alerts,
        };
        let quiet = |quiet: &QuietHours| QuietTimes {
            from: quiet.from.to_string(),
            until: quiet.until.to_string(),
            time_zone: quiet.time_zone.clone(),
        };
        Self {
            email: contacts.email.as_ref().map(listed),
            sms: contacts.phone.as_ref().map(listed),
            quiet_hours: contacts.quiet_hours.as_ref().map(quiet),
        }
    }
}

/// What a request about addresses needs.
struct Sending<'a> {
    messages: &'a Messages,
    links: &'a Links,
    now: Timestamp,
}

impl<'a> Sending<'a> {
    fn of(app: &'a AppState) -> Result<Self, ApiError> {
        let messages = app.messages.as_ref().ok_or(ApiError::MessagesDisabled)?;
        let links = messages.links.as_ref().ok_or(ApiError::NoPublicOrigin)?;
        Ok(Self { messages, links, now: (app.clock)() })
    }

    async fn send(
        &self,
        user: &User,
        channel: Channel,
        to: &str,
        content: Content,
        lasts_ms: i64,
    ) -> Result<(), ApiError> {
        // The user says that it takes messages.
        self.messages.outbox.suppress(channel, to, None, self.now).await?;
        let message = message_to(user, channel, to, content, self.now, lasts_ms);
        self.messages.outbox.add(&[message], self.now).await?;
        Ok(())
    }

    /// Sends a link to the e-mail address.
    async fn confirm_email(&self, app: &AppState, user: &User) -> Result<(), ApiError> {
        let address = app.accounts.ask_for_message(&user.id, ContactKind::Email, false).await?;
        let content = Content::ConfirmEmail { name: user.name.as_str().to_owned(), asked_at: self.now };
        self.send(user, Channel::Email, &address, content, CONFIRM_WITHIN_MS).await
    }

    /// Sends a code to the phone number.
    async fn confirm_phone(&self, app: &AppState, user: &User) -> Result<(), ApiError> {
        let (number, nonce) = app.accounts.begin_code(&user.id, CODE_WITHIN_MS).await?;
        let content = Content::ConfirmPhone { nonce, asked_at: self.now };
        self.send(user, Channel::Sms, &number, content, CODE_WITHIN_MS).await
    }
}

fn kind_of(channel: &str) -> Result<(Channel, ContactKind), ApiError> {
    match channel.parse() {
        Ok(Channel::Email) => Ok((Channel::Email, ContactKind::Email)),
        Ok(Channel::Sms) => Ok((Channel::Sms, ContactKind::Phone)),
        Err(_) => Err(ApiError::NotFound("there are the channels email and sms".into())),
    }
}

/// Returns your addresses and quiet hours.
#[utoipa::path(
    get, path = "/api/contacts", operation_id = "list_contacts", tag = "messages", security(("session" = [])),
    responses((status = OK, body = ListedContacts, description = "What is set."), Refusals),
)]
async fn list(State(app): State<Arc<AppState>>, Person { user, .. }: Person) -> Result<Json<ListedContacts>, ApiError> {
    Ok(Json((&app.accounts.contacts_of(&user.id).await?).into()))
}

/// An object or null, which is not the same as a field that is missing.
fn or_null<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let object = Option::<Map<String, Value>>::deserialize(deserializer)?;
    object.map(|fields| T::deserialize(Value::Object(fields)).map_err(D::Error::custom)).transpose().map(Some)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Changes {
    /// Whether alerts are sent by e-mail.
    email_alerts: Option<bool>,
    /// Whether alerts are sent by SMS.
    sms_alerts: Option<bool>,
    /// When no alerts are sent; null for never.
    #[serde(default, deserialize_with = "or_null")]
    #[schema(value_type = Option<QuietTimes>)]
    quiet_hours: Option<Option<QuietTimes>>,
}

/// Changes which messages are sent, and when. What is missing stays as it is.
#[utoipa::path(
    patch, path = "/api/contacts", operation_id = "change_contacts", tag = "messages", request_body = Changes,
    security(("session" = [])),
    responses((status = OK, body = ListedContacts, description = "What is set now."), Refusals),
)]
async fn change(
    State(app): State<Arc<AppState>>,
    Person { user, .. }: Person,
    Body(wanted): Body<Changes>,
) -> Result<Json<ListedContacts>, ApiError> {
    let quiet = |QuietTimes { from, until, time_zone }: QuietTimes| {
        QuietHours::new(&from, &until, &time_zone)
            .map_err(|error| ApiError::Invalid { field: "quiet_hours".into(), reason: error.to_string() })
    };
    let quiet_hours = match wanted.quiet_hours {
        None => None,
        Some(None) => Some(None),
        Some(Some(hours)) => Some(Some(quiet(hours)?)),
    };
    let Changes { email_alerts, sms_alerts, .. } = wanted;
    let changes = ContactChanges { email_alerts, phone_alerts: sms_alerts, quiet_hours };
    Ok(Json((&app.accounts.change_messages(&user.id, &changes).await?).into()))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewEmail {
    address: String,
    /// The account's password, because whoever has the address can choose another one.
    password: String,
}

/// Sets your e-mail address. A link is sent there, by which you confirm it.
#[utoipa::path(
    put, path = "/api/contacts/email", operation_id = "set_email", tag = "messages", request_body = NewEmail,
    security(("session" = [])),
    responses(
        (status = OK, body = ListedContacts, description = "It is set, and to be confirmed."), Refusals, MessageRefusals,
    ),
)]
async fn set_email(
    State(app): State<Arc<AppState>>,
    By(by): By,
    Person { user, .. }: Person,
    Body(given): Body<NewEmail>,
) -> Result<Json<ListedContacts>, ApiError> {
    let sending = Sending::of(&app)?;
    let address: EmailAddress = given
        .address
        .parse()
        .map_err(|error| ApiError::Invalid { field: "address".into(), reason: format!("{error}") })?;
    let set = app.accounts.set_email(&user, &given.password, Some(address.as_str()), &by).await?;
    let after = email_was_set(&app, &user, set, by.address.to_string()).await;
    if after.confirmed(ContactKind::Email).is_none() {
        sending.confirm_email(&app, &user).await?;
    }
    Ok(Json((&after).into()))
}

/// Tells the address that the account had before.
async fn email_was_set(app: &AppState, user: &User, (before, after): (Contacts, Contacts), from: String) -> Contacts {
    let now = after.email.as_ref().map(|it| it.address.clone());
    if let Some(former) = before.confirmed(ContactKind::Email).filter(|former| Some(*former) != now.as_deref()) {
        app.tell_address(user, former, AccountChange::Email { now }, from).await;
    }
    after
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Removal {
    /// The account's password.
    password: String,
}

/// Removes your e-mail address.
#[utoipa::path(
    delete, path = "/api/contacts/email", operation_id = "remove_email", tag = "messages", request_body = Removal,
    security(("session" = [])),
    responses((status = OK, body = ListedContacts, description = "It is removed."), Refusals),
)]
async fn remove_email(
    State(app): State<Arc<AppState>>,
    By(by): By,
    Person { user, .. }: Person,
    Body(given): Body<Removal>,
) -> Result<Json<ListedContacts>, ApiError> {
    let set = app.accounts.set_email(&user, &given.password, None, &by).await?;
    Ok(Json((&email_was_set(&app, &user, set, by.address.to_string()).await).into()))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewNumber {
    /// With the country's code, as +447700900123.
    address: String,
}

/// Sets your phone number. A code is sent there, by which you confirm it.
#[utoipa::path(
    put, path = "/api/contacts/sms", operation_id = "set_sms", tag = "messages", request_body = NewNumber,
    security(("session" = [])),
    responses(
        (status = OK, body = ListedContacts, description = "It is set, and to be confirmed."), Refusals, MessageRefusals,
    ),
)]
async fn set_sms(
    State(app): State<Arc<AppState>>,
    By(by): By,
    Person { user, .. }: Person,
    Body(given): Body<NewNumber>,
) -> Result<Json<ListedContacts>, ApiError> {
    let sending = Sending::of(&app)?;
    let number: PhoneNumber = given
        .address
        .parse()
        .map_err(|error| ApiError::Invalid { field: "address".into(), reason: format!("{error}") })?;
    let (before, after) = app.accounts.set_phone(&user, Some(number.as_str()), &by).await?;
    if after.confirmed(ContactKind::Phone).is_none() {
        sending.confirm_phone(&app, &user).await?;
    }
    if before.phone.as_ref().map(|it| &it.address) != after.phone.as_ref().map(|it| &it.address) {
        app.tell_of_change(&user, AccountChange::Phone { now: Some(number.as_str().to_owned()) }, &by);
    }
    Ok(Json((&after).into()))
}

/// Removes your phone number.
#[utoipa::path(
    delete, path = "/api/contacts/sms", operation_id = "remove_sms", tag = "messages", security(("session" = [])),
    responses((status = OK, body = ListedContacts, description = "It is removed."), Refusals),
)]
async fn remove_sms(
    State(app): State<Arc<AppState>>,
    By(by): By,
    Person { user, .. }: Person,
) -> Result<Json<ListedContacts>, ApiError> {
    let (before, after) = app.accounts.set_phone(&user, None, &by).await?;
    if before.phone.is_some() {
        app.tell_of_change(&user, AccountChange::Phone { now: None }, &by);
    }
    Ok(Json((&after).into()))
}

/// Sends the link or the code by which an address is confirmed once more. An address gets ten messages a day this way.
#[utoipa::path(
    post, path = "/api/contacts/{channel}/confirmation", operation_id = "send_confirmation", tag = "messages",
    params(("channel" = String, Path, description = "`email` or `sms`")), security(("session" = [])),
    responses((status = ACCEPTED, description = "It will be sent."), Refusals, MessageRefusals),
)]
async fn confirm_again(
    State(app): State<Arc<AppState>>,
    Person { user, .. }: Person,
    Path(channel): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (channel, kind) = kind_of(&channel)?;
    let sending = Sending::of(&app)?;
    if app.accounts.contacts_of(&user.id).await?.confirmed(kind).is_some() {
        return Err(AccountsError::Confirmed.into());
    }
    match channel {
        Channel::Email => sending.confirm_email(&app, &user).await?,
        Channel::Sms => sending.confirm_phone(&app, &user).await?,
    }
    Ok(StatusCode::ACCEPTED)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GivenCode {
    /// The six digits of the SMS.
    code: String,
}

/// Confirms your phone number by the code that was sent there. It can be entered five times within ten minutes.
#[utoipa::path(
    post, path = "/api/contacts/sms/code", operation_id = "enter_code", tag = "messages", request_body = GivenCode,
    security(("session" = [])),
    responses((status = OK, body = ListedContacts, description = "It is confirmed."), Refusals, MessageRefusals),
)]
async fn enter_code(
    State(app): State<Arc<AppState>>,
    By(by): By,
    Person { user, .. }: Person,
    Body(given): Body<GivenCode>,
) -> Result<Json<ListedContacts>, ApiError> {
    let key = Sending::of(&app)?.links.key();
    let code_of = |number: &str, nonce: &str| key.code(number, nonce);
    Ok(Json((&app.accounts.confirm_phone(&user.id, &given.code, code_of, &by).await?).into()))
}

/// Sends a test to a confirmed address.
#[utoipa::path(
    post, path = "/api/contacts/{channel}/test", operation_id = "send_test", tag = "messages",
    params(("channel" = String, Path, description = "`email` or `sms`")), security(("session" = [])),
    responses((status = ACCEPTED, description = "It will be sent."), Refusals, MessageRefusals),
)]
async fn test(
    State(app): State<Arc<AppState>>,
    Person { user, .. }: Person,
    Path(channel): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (channel, kind) = kind_of(&channel)?;
    let sending = Sending::of(&app)?;
    let address = app.accounts.ask_for_message(&user.id, kind, true).await?;
    let content = Content::Test { name: user.name.as_str().to_owned() };
    sending.send(&user, channel, &address, content, TEST_WITHIN_MS).await?;
    Ok(StatusCode::ACCEPTED)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Forgotten {
    /// The account's name, or its confirmed e-mail address.
    name: String,
}

/// Sends a link to choose another password to the confirmed e-mail address of an account. The answer is the same
/// whether or not there is such an account.
#[utoipa::path(
    post, path = "/api/password/forgotten", operation_id = "forgot_password", tag = "account",
    request_body = Forgotten,
    responses((status = ACCEPTED, description = "If there is such an account, the link is sent."), Refusals, MessageRefusals),
)]
async fn forgot(
    State(app): State<Arc<AppState>>,
    By(by): By,
    Body(given): Body<Forgotten>,
) -> Result<StatusCode, ApiError> {
    Sending::of(&app)?;
    app.accounts.may_forget(by.address)?;
    let in_background = app.clone();
    tokio::spawn(async move {
        let sent = async {
            let sending = Sending::of(&in_background)?;
            for (user, address) in in_background.accounts.forgotten(&given.name, &by).await? {
                let (name, epoch) = (user.name.as_str().to_owned(), user.epoch);
                let content = Content::ForgotPassword { name, epoch, asked_at: sending.now };
                let message = message_to(&user, Channel::Email, &address, content, sending.now, PASSWORD_WITHIN_MS);
                sending.messages.outbox.add(&[message], sending.now).await?;
            }
            Ok::<_, ApiError>(())
        };
        if let Err(error) = sent.await {
            warn!(%error, "links to choose another password can't be sent");
        }
    });
    Ok(StatusCode::ACCEPTED)
}
