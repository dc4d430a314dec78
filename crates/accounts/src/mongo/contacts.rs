//! Users' addresses, which are in the documents of the users.

use async_trait::async_trait;
use futures::TryStreamExt;
use mongodb::bson::doc;
use serde::Deserialize;

use super::{MongoStore, UserDocument};
use crate::{
    contacts::{ContactStore, Contacts, email_key},
    store::StoreError,
    user::{User, UserId},
};

/// What a user's document has of addresses. Absent if there never were any.
#[derive(Deserialize)]
struct ContactsOfUser {
    #[serde(default)]
    contacts: Option<String>,
    #[serde(default)]
    contacts_version: i64,
}

#[async_trait]
impl ContactStore for MongoStore {
    async fn contacts(&self, user: &UserId) -> Result<Option<(Contacts, u64)>, StoreError> {
        let users = self.users.clone_with_type::<ContactsOfUser>();
        let found = self.get(async {
            users
                .find_one(doc! { "_id": user.as_str() })
                .projection(doc! { "contacts": 1, "contacts_version": 1 })
                .await
        });
        let Some(found) = found.await? else { return Ok(None) };
        let contacts = found.contacts.map(|text| serde_json::from_str(&text)).transpose();
        Ok(Some((contacts.map_err(StoreError::new)?.unwrap_or_default(), found.contacts_version as u64)))
    }

    async fn set_contacts(&self, user: &UserId, version: u64, contacts: &Contacts) -> Result<bool, StoreError> {
        let known = match version {
            0 => doc! { "_id": user.as_str(), "contacts_version": null },
            _ => doc! { "_id": user.as_str(), "contacts_version": version as i64 },
        };
        let text = serde_json::to_string(contacts).expect("plain values");
        let set =
            doc! { "contacts": text, "contacts_version": version as i64 + 1, "contact_email": contacts.email_key() };
        let updated = self.get(self.users.update_one(known, doc! { "$set": set })).await?;
        Ok(updated.modified_count == 1)
    }

    async fn users_with_email(&self, email: &str, most: usize) -> Result<Vec<User>, StoreError> {
        let found = self.get(async {
            let find = self.users.find(doc! { "contact_email": email_key(email) }).sort(doc! { "_id": 1 });
            find.limit(most as i64).await?.try_collect::<Vec<UserDocument>>().await
        });
        found.await?.into_iter().map(UserDocument::user).collect()
    }
}
