//! What users do with their addresses, on any store; and how an address replaces a forgotten password.

use std::{net::IpAddr, time::Duration};

use odds::Timestamp;

use crate::{
    accounts::{Accounts, AccountsError},
    audit::{self, Requester},
    contacts::{Contact, ContactKind, Contacts, QuietHours, SentCode},
    password::Password,
    secret,
    store::StoreError,
    user::{User, UserId},
    user_name::UserName,
};

/// How many messages a user may ask for in a day: to confirm an address, or as a test.
const ASKED_A_DAY: usize = 10;
const DAY_MS: i64 = 24 * 3_600_000;
/// How often a code may be entered.
const CODE_TRIES: u32 = 5;
/// How often a write is repeated because others were faster.
const TRIES: usize = 20;
/// How many accounts of one address get a link to choose another password.
const MOST_FORGOTTEN: usize = 5;

/// What a user changes about messages. `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct ContactChanges {
    pub email_alerts: Option<bool>,
    pub phone_alerts: Option<bool>,
    pub quiet_hours: Option<Option<QuietHours>>,
}

impl Accounts {
    pub async fn contacts_of(&self, user: &UserId) -> Result<Contacts, AccountsError> {
        let contacts = self.store().contacts(user).await?.ok_or(AccountsError::Unauthenticated)?;
        Ok(contacts.0)
    }

    /// Changes a user's addresses. The change may be made several times; the last one counts. Returns the addresses
    /// before and after it, and what it returns.
    async fn change_contacts<T>(
        &self,
        user: &UserId,
        change: impl Fn(&mut Contacts) -> Result<T, AccountsError>,
    ) -> Result<(Contacts, Contacts, T), AccountsError> {
        for _ in 0..TRIES {
            let (before, version) = self.store().contacts(user).await?.ok_or(AccountsError::Unauthenticated)?;
            let mut after = before.clone();
            let done = change(&mut after)?;
            if after == before || self.store().set_contacts(user, version, &after).await? {
                return Ok((before, after, done));
            }
        }
        Err(StoreError("an account's addresses change all the time".into()).into())
    }

    /// Sets the e-mail address, which is to be confirmed. Returns the addresses before and after it.
    pub async fn set_email(
        &self,
        user: &User,
        password: &str,
        address: Option<&str>,
        by: &Requester,
    ) -> Result<(Contacts, Contacts), AccountsError> {
        self.may_change(&user.id)?;
        // Whoever has the address can choose another password.
        self.prove(user, password, by).await?;
        self.set_contact(user, ContactKind::Email, address, by).await
    }

    /// Sets the phone number, which is to be confirmed. Returns the addresses before and after it.
    pub async fn set_phone(
        &self,
        user: &User,
        number: Option<&str>,
        by: &Requester,
    ) -> Result<(Contacts, Contacts), AccountsError> {
        self.may_change(&user.id)?;
        self.set_contact(user, ContactKind::Phone, number, by).await
    }

    async fn set_contact(
        &self,
        user: &User,
        kind: ContactKind,
        address: Option<&str>,
        by: &Requester,
    ) -> Result<(Contacts, Contacts), AccountsError> {
        let set = |contacts: &mut Contacts| {
            let contact = contacts.of_kind(kind);
            let is_same = contact.as_ref().map(|it| it.address.as_str()) == address;
            if !is_same {
                let new = |address: &str| Contact {
                    address: address.to_owned(),
                    confirmed_at: None,
                    alerts: true,
                    code: None,
                };
                *contact = address.map(new);
            }
            Ok(())
        };
        let (before, after, ()) = self.change_contacts(&user.id, set).await?;
        let event = match kind {
            ContactKind::Email => "email_set",
            ContactKind::Phone => "phone_set",
        };
        audit::done(event, &user.id, by, &if address.is_some() { "" } else { "removed" });
        Ok((before, after))
    }

    /// Counts a message that a user asks for. Returns the address that it goes to.
    pub async fn ask_for_message(
        &self,
        user: &UserId,
        kind: ContactKind,
        must_be_confirmed: bool,
    ) -> Result<String, AccountsError> {
        let now = self.now();
        let ask = |contacts: &mut Contacts| {
            let address = contacts.get(kind).ok_or(AccountsError::NoAddress)?;
            if must_be_confirmed && address.confirmed_at.is_none() {
                return Err(AccountsError::NotConfirmed);
            }
            let address = address.address.clone();
            count_asked(contacts, now)?;
            Ok(address)
        };
        self.change_contacts(user, ask).await.map(|(_, _, address)| address)
    }

    /// Begins to confirm a phone number. Returns it, and the nonce of the code that is to be sent there.
    pub async fn begin_code(&self, user: &UserId, lasts_ms: i64) -> Result<(String, String), AccountsError> {
        let now = self.now();
        let nonce = secret::random_text::<12>();
        let begin = |contacts: &mut Contacts| {
            count_asked(contacts, now)?;
            let phone = contacts.phone.as_mut().ok_or(AccountsError::NoAddress)?;
            if phone.confirmed_at.is_some() {
                return Err(AccountsError::Confirmed);
            }
            phone.code = Some(SentCode { nonce: nonce.clone(), until: now.plus_millis(lasts_ms), tries: CODE_TRIES });
            Ok(phone.address.clone())
        };
        let (_, _, address) = self.change_contacts(user, begin).await?;
        Ok((address, nonce))
    }

    /// Confirms a phone number by the code that was sent there: `code_of` makes it of the number and the nonce.
    pub async fn confirm_phone(
        &self,
        user: &UserId,
        given: &str,
        code_of: impl Fn(&str, &str) -> String,
        by: &Requester,
    ) -> Result<Contacts, AccountsError> {
        self.may_change(user)?;
        let now = self.now();
        let enter = |contacts: &mut Contacts| {
            let phone = contacts.phone.as_mut().ok_or(AccountsError::NoAddress)?;
            if phone.confirmed_at.is_some() {
                return Ok(true);
            }
            let code = phone.code.as_mut().filter(|code| code.until > now && code.tries > 0);
            let Some(code) = code else { return Err(AccountsError::CodeExpired) };
            code.tries -= 1;
            let is_right = secret::are_equal(&code_of(&phone.address, &code.nonce), given.trim());
            if is_right {
                phone.confirmed_at = Some(now);
                phone.code = None;
            }
            Ok(is_right)
        };
        let (_, after, is_right) = self.change_contacts(user, enter).await?;
        if !is_right {
            audit::refused("phone_code_refused", Some(user), by.address, &AccountsError::WrongDigits);
            return Err(AccountsError::WrongDigits);
        }
        audit::done("phone_confirmed", user, by, &"");
        Ok(after)
    }

    /// Confirms an e-mail address, by the link that was sent there.
    pub async fn confirm_email(&self, user: &UserId, address: &str, by: &Requester) -> Result<(), AccountsError> {
        self.count_attempt(by.address)?;
        let now = self.now();
        let confirm = |contacts: &mut Contacts| {
            let email = contacts.email.as_mut().filter(|it| it.address == address);
            let email = email.ok_or(AccountsError::StaleLink)?;
            email.confirmed_at.get_or_insert(now);
            Ok(())
        };
        self.change_contacts(user, confirm).await?;
        audit::done("email_confirmed", user, by, &"");
        Ok(())
    }

    pub async fn change_messages(&self, user: &UserId, changes: &ContactChanges) -> Result<Contacts, AccountsError> {
        self.may_change(user)?;
        let change = |contacts: &mut Contacts| {
            let alerts = [(ContactKind::Email, changes.email_alerts), (ContactKind::Phone, changes.phone_alerts)];
            for (kind, alerts) in alerts.into_iter().filter_map(|(kind, alerts)| Some((kind, alerts?))) {
                contacts.of_kind(kind).as_mut().ok_or(AccountsError::NoAddress)?.alerts = alerts;
            }
            if let Some(quiet_hours) = &changes.quiet_hours {
                contacts.quiet_hours = quiet_hours.clone();
            }
            Ok(())
        };
        Ok(self.change_contacts(user, change).await?.1)
    }

    /// Sends no more alerts to the user's e-mail address. It may be gone already.
    pub async fn unsubscribe(&self, user: &UserId, by: &Requester) -> Result<(), AccountsError> {
        self.count_attempt(by.address)?;
        let stop = |contacts: &mut Contacts| {
            if let Some(email) = &mut contacts.email {
                email.alerts = false;
            }
            Ok(())
        };
        match self.change_contacts(user, stop).await {
            Ok(_) => audit::done("unsubscribed", user, by, &""),
            // The account was deleted.
            Err(AccountsError::Unauthenticated) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Counts somebody's wish to replace a forgotten password.
    pub fn may_forget(&self, address: IpAddr) -> Result<(), AccountsError> {
        self.count_attempt(address)
    }

    /// The accounts of this user name or confirmed e-mail address, and where links to choose another password are sent.
    /// Whoever asks must not be told whether there are any, neither by the answer nor by its time.
    pub async fn forgotten(&self, name: &str, by: &Requester) -> Result<Vec<(User, String)>, AccountsError> {
        let mut users = self.store().users_with_email(name.trim(), MOST_FORGOTTEN).await?;
        if let Ok(name) = name.trim().parse::<UserName>()
            && let Some((user, _)) = self.store().user_and_password(&name).await?
            && users.iter().all(|it| it.id != user.id)
        {
            users.push(user);
        }
        let mut found = Vec::new();
        for user in users.into_iter().filter(|user| !user.disabled) {
            let Some((contacts, _)) = self.store().contacts(&user.id).await? else { continue };
            if let Some(address) = contacts.confirmed(ContactKind::Email) {
                audit::done("password_link_sent", &user.id, by, &"");
                found.push((user, address.to_owned()));
            }
        }
        Ok(found)
    }

    /// Replaces a forgotten password, by a link for the account as it was in this epoch. Ends all sessions.
    pub async fn replace_password(
        &self,
        user: &UserId,
        epoch: u64,
        new: &str,
        by: &Requester,
    ) -> Result<User, AccountsError> {
        self.count_attempt(by.address)?;
        let user = self.store().user(user).await?.filter(|user| user.epoch == epoch);
        let user = user.ok_or(AccountsError::StaleLink)?;
        if user.disabled {
            return Err(AccountsError::Disabled);
        }
        let invalid =
            |error: &dyn std::fmt::Display| AccountsError::Invalid { field: "password", reason: error.to_string() };
        let new = Password::new(new, &user.name).map_err(|error| invalid(&error))?;
        let new = self.passwords().hash(&new).await?;
        let (now, hash) = self.store().user_and_password(&user.name).await?.ok_or(AccountsError::StaleLink)?;
        if now.epoch != epoch {
            return Err(AccountsError::StaleLink);
        }
        let changed = self.store().set_password(&user.id, Some(&hash), &new).await?;
        audit::done("password_replaced", &user.id, by, &"by link");
        changed.ok_or(AccountsError::StaleLink)
    }
}

/// Counts a message that a user asks for, of those of the last day.
fn count_asked(contacts: &mut Contacts, now: Timestamp) -> Result<(), AccountsError> {
    contacts.asked.retain(|at| now.millis_since(*at) < DAY_MS);
    if contacts.asked.len() >= ASKED_A_DAY {
        let oldest = contacts.asked.iter().min().copied().unwrap_or(now);
        let wait = DAY_MS - now.millis_since(oldest);
        return Err(AccountsError::TooManyAttempts { retry_after: Duration::from_millis(wait.max(0) as u64) });
    }
    contacts.asked.push(now);
    Ok(())
}
