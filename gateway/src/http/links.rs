//! The pages that links in messages lead to. They work without scripts, in whatever a mail program opens.
//!
//! Programs that look at links before people do ask for a page; only its button does something.

use std::sync::Arc;

use ::messages::{AccountChange, InvalidLink, Permit};
use accounts::{AccountsError, UserId};
use axum::{
    Router,
    extract::{Form, Query, State},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use html_escape::encode_text;
use http::StatusCode;
use serde::Deserialize;

use super::{caller::By, error::ApiError};
use crate::session::AppState;

pub(super) fn router() -> Router<Arc<AppState>> {
    Router::new()
        .route("/links/confirm", get(ask_to_confirm).post(confirm))
        .route("/links/password", get(ask_for_password).post(choose_password))
        .route("/links/unsubscribe", get(ask_to_unsubscribe).post(unsubscribe))
}

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:28rem;margin:4rem auto;padding:0 1rem;\
    color-scheme:light dark}input,button{font:inherit;padding:.5rem 1rem;box-sizing:border-box}\
    input{width:100%;margin:.25rem 0 1rem}";

#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    token: String,
}

/// A page with a heading, and parts that are HTML.
fn page(status: StatusCode, heading: &str, parts: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"robots\" content=\"noindex\">\
         <title>{heading} - Toteboard</title><style>{STYLE}</style><h1>{heading}</h1>{parts}</html>"
    );
    (status, Html(html)).into_response()
}

fn said(status: StatusCode, heading: &str, words: &str) -> Response {
    page(status, heading, &format!("<p>{}</p><p><a href=\"/\">Toteboard</a></p>", encode_text(words)))
}

/// A page with a button. The form goes to the page's own address, with the link's token.
fn form(heading: &str, words: &str, fields: &str, button: &str) -> Response {
    let parts = format!("<p>{}</p><form method=\"post\">{fields}<button>{button}</button></form>", encode_text(words));
    page(StatusCode::OK, heading, &parts)
}

fn refused(error: &ApiError) -> Response {
    let message = error.message();
    let mut letters = message.chars();
    let sentence = letters.next().map(|first| format!("{}{}.", first.to_uppercase(), letters.as_str()));
    said(error.status(), "This did not work", &sentence.unwrap_or_default())
}

fn permit(app: &AppState, link: &Link) -> Result<Permit, ApiError> {
    let messages = app.messages.as_ref().ok_or(ApiError::MessagesDisabled)?;
    let links = messages.links.as_ref().ok_or(ApiError::NoPublicOrigin)?;
    Ok(links.key().check(&link.token, (app.clock)())?)
}

/// A valid link of another kind.
const WRONG_KIND: ApiError = ApiError::Link(InvalidLink::Forged);

async fn ask_to_confirm(State(app): State<Arc<AppState>>, Query(link): Query<Link>) -> Response {
    match permit(&app, &link) {
        Ok(Permit::Confirm { address, .. }) => {
            form("Confirm your e-mail address", &format!("Is {address} yours?"), "", "Confirm")
        }
        Ok(_) => refused(&WRONG_KIND),
        Err(error) => refused(&error),
    }
}

async fn confirm(State(app): State<Arc<AppState>>, By(by): By, Query(link): Query<Link>) -> Response {
    let (user, address) = match permit(&app, &link) {
        Ok(Permit::Confirm { user, address }) => (UserId::named(&user), address),
        Ok(_) => return refused(&WRONG_KIND),
        Err(error) => return refused(&error),
    };
    match app.accounts.confirm_email(&user, &address, &by).await {
        Ok(()) => said(StatusCode::OK, "Confirmed", &format!("Messages are now sent to {address}.")),
        // The account was deleted.
        Err(AccountsError::Unauthenticated) => refused(&AccountsError::StaleLink.into()),
        Err(error) => refused(&error.into()),
    }
}

const PASSWORD_FIELD: &str = "<label>New password<input name=\"password\" type=\"password\" minlength=\"12\" \
    maxlength=\"128\" autocomplete=\"new-password\" required></label>";

async fn ask_for_password(State(app): State<Arc<AppState>>, Query(link): Query<Link>) -> Response {
    match permit(&app, &link) {
        Ok(Permit::Password { .. }) => form(
            "Choose another password",
            "At least 12 characters, and not easy to guess. All devices are signed out.",
            PASSWORD_FIELD,
            "Change the password",
        ),
        Ok(_) => refused(&WRONG_KIND),
        Err(error) => refused(&error),
    }
}

#[derive(Deserialize)]
struct NewPassword {
    password: String,
}

async fn choose_password(
    State(app): State<Arc<AppState>>,
    By(by): By,
    Query(link): Query<Link>,
    Form(new): Form<NewPassword>,
) -> Response {
    let (user, epoch) = match permit(&app, &link) {
        Ok(Permit::Password { user, epoch }) => (UserId::named(&user), epoch),
        Ok(_) => return refused(&WRONG_KIND),
        Err(error) => return refused(&error),
    };
    match app.accounts.replace_password(&user, epoch, &new.password, &by).await {
        Ok(user) => {
            app.account_changed((&user).into());
            app.tell_of_change(&user, AccountChange::Password, &by);
            said(StatusCode::OK, "The password was changed", "Sign in with the new one.")
        }
        Err(AccountsError::Invalid { reason, .. }) => {
            form("Choose another password", &format!("The password {reason}."), PASSWORD_FIELD, "Change the password")
        }
        Err(error) => refused(&error.into()),
    }
}

async fn ask_to_unsubscribe(State(app): State<Arc<AppState>>, Query(link): Query<Link>) -> Response {
    match permit(&app, &link) {
        Ok(Permit::Unsubscribe { .. }) => {
            form("No more alerts by e-mail?", "Alerts still appear on the page.", "", "No more alerts by e-mail")
        }
        Ok(_) => refused(&WRONG_KIND),
        Err(error) => refused(&error),
    }
}

/// Mail programs do this by themselves when their user unsubscribes there.
async fn unsubscribe(State(app): State<Arc<AppState>>, By(by): By, Query(link): Query<Link>) -> Response {
    let user = match permit(&app, &link) {
        Ok(Permit::Unsubscribe { user }) => UserId::named(&user),
        Ok(_) => return refused(&WRONG_KIND),
        Err(error) => return refused(&error),
    };
    match app.accounts.unsubscribe(&user, &by).await {
        Ok(()) => said(StatusCode::OK, "Done", "No more alerts are sent to this address."),
        Err(error) => refused(&error.into()),
    }
}
