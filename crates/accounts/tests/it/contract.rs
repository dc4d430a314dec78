//! What every store does. Each function gets an open store, which may contain the data of other tests.

use std::{collections::BTreeSet, sync::Arc};

use accounts::{
    AuditEntry, Changed, Contacts, CreateTokenError, CreateUserError, FAMILIAR_FOR, NewToken, NewUser, Password,
    PasswordHash, Place, Scope, SessionData, SessionKey, Store, StoredSession, TokenId, TokenText, User, UserId,
    UserName,
};
use odds::{Region, Timestamp};

/// One `#[tokio::test]` for each function here, on the store that `$open` gives.
#[macro_export]
macro_rules! contract {
    ($open:expr, $(#[$attribute:meta])*) => {
        $crate::contract!(
            $open, [$(#[$attribute])*]
            names_are_taken_once_in_any_case
            a_user_is_as_it_was_made
            only_one_of_many_gets_a_name
            a_change_raises_the_revision_and_nothing_else
            changes_at_once_are_all_counted
            a_new_password_ends_sessions_and_replaces_only_what_is_known
            a_replaced_hash_changes_nothing_else
            a_disabled_user_has_no_sessions
            an_operator_is_one_until_no_longer
            actions_are_noted_and_read_from_the_newest
            users_are_found_by_the_beginning_of_their_name
            registration_is_as_it_was_decided
            sessions_expire_and_can_be_ended
            an_ended_session_is_not_brought_back
            tokens_belong_to_their_user
            the_number_of_tokens_is_limited
            use_of_a_token_is_noted_and_goes_only_forward
            known_tells_what_there_is
            tokens_expire_by_their_own_limit_and_by_the_common_one
            sessions_are_listed_until_they_end
            a_writable_store_passes_its_check
            places_are_remembered_for_a_while
            a_deleted_user_leaves_nothing
            addresses_are_changed_by_one_at_a_time
            users_are_found_by_a_confirmed_address
            a_rule_is_as_it_was_made_and_belongs_to_its_user
            the_number_of_rules_is_limited
            an_edited_rule_begins_anew
            an_episode_fires_only_after_the_cool_down_of_the_recorded_firing
            unwatched_times_are_noted_once_for_each_shard
            nothing_of_a_former_revision_is_recorded_after_an_edit
            a_firing_is_recorded_once_and_needs_its_episode
            an_episode_begins_only_after_the_steps_of_the_one_before
            a_rule_that_fires_once_ends_with_its_firing
            many_owners_record_a_firing_once
            rules_of_disabled_and_deleted_users_are_not_evaluated
            active_rules_come_in_pages
            changed_rules_are_found_by_their_users
            alerts_come_in_order_and_are_read
            a_late_alert_is_settled_once
            progress_only_goes_forward
        );
    };
    ($open:expr, $attributes:tt $($name:ident)*) => {
        $( $crate::contract!(@ $open, $attributes $name); )*
    };
    (@ $open:expr, [$(#[$attribute:meta])*] $name:ident) => {
        #[tokio::test(flavor = "multi_thread")]
        $(#[$attribute])*
        async fn $name() {
            let open = $open.await;
            $crate::contract::$name(open.store.clone()).await;
        }
    };
}

pub use crate::contract_of_alerts::*;

pub type AnyStore = Arc<dyn Store>;

/// A time in 2096, because a server that deletes expired sessions by its own clock could do so in the middle of a test.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis((4_000_000_000 + seconds) * 1_000)
}

fn hash(text: &str) -> PasswordHash {
    // Stores don't parse it.
    PasswordHash::stored(text)
}

/// A name that no other test uses.
fn fresh_name() -> UserName {
    let suffix: String = Password::random().reveal().chars().filter(char::is_ascii_alphanumeric).collect();
    format!("User.{suffix}").parse().unwrap()
}

pub async fn make(store: &AnyStore) -> User {
    try_to_make(store).await.unwrap()
}

pub async fn try_to_make(store: &AnyStore) -> Result<User, CreateUserError> {
    let (id, name) = (UserId::random(), fresh_name());
    let new = NewUser { id, name, password: hash("first"), regions: BTreeSet::new(), created_at: at(1) };
    store.create_user(&new).await
}

fn session(user: &User, until: i64) -> StoredSession {
    let data = SessionData {
        user: user.id.clone(),
        epoch: user.epoch,
        since: at(5),
        until: at(until),
        address: "192.0.2.7".into(),
        agent: "a browser".into(),
    };
    // As long and as random as a cookie's value.
    let key = SessionKey::of_cookie(user.id.as_str()).unwrap();
    StoredSession { key, data }
}

pub fn token(user: &User, name: &str) -> (NewToken, TokenText) {
    let text = TokenText::random();
    let (id, user, hash) = (TokenId::random(), user.id.clone(), text.hash());
    let (name, scopes) = (name.parse().unwrap(), BTreeSet::from([Scope::Stream]));
    (NewToken { id, user, name, hash, created_at: at(7), expires_at: None, scopes }, text)
}

pub async fn names_are_taken_once_in_any_case(store: AnyStore) {
    let user = make(&store).await;
    let name: UserName = user.name.as_str().to_uppercase().parse().unwrap();
    let id = UserId::random();
    let again = NewUser { id, name, password: hash("x"), regions: BTreeSet::new(), created_at: at(2) };
    assert_eq!(store.create_user(&again).await, Err(CreateUserError::Taken));
    let (found, _) = store.user_and_password(&again.name).await.unwrap().unwrap();
    assert_eq!(found, user);
}

pub async fn a_user_is_as_it_was_made(store: AnyStore) {
    let regions = BTreeSet::from([Region::Us, Region::Au]);
    let (id, name) = (UserId::random(), fresh_name());
    let new = NewUser { id, name, password: hash("first"), regions: regions.clone(), created_at: at(1) };
    let user = store.create_user(&new).await.unwrap();
    assert_eq!((&user.id, &user.name, user.created_at, user.disabled), (&new.id, &new.name, at(1), false));
    assert_eq!(user.regions, regions);
    assert_eq!(store.user(&new.id).await.unwrap(), Some(user.clone()));
    assert_eq!(store.user_and_password(&new.name).await.unwrap(), Some((user.clone(), hash("first"))));
    assert!(store.users().await.unwrap().contains(&user));
    assert_eq!(store.user(&UserId::random()).await.unwrap(), None);
    assert_eq!(store.user_and_password(&fresh_name()).await.unwrap(), None);
}

pub async fn only_one_of_many_gets_a_name(store: AnyStore) {
    let name = fresh_name();
    let crowd = (0..20).map(|_| {
        let (store, name) = (store.clone(), name.clone());
        tokio::spawn(async move {
            let id = UserId::random();
            let new = NewUser { id, name, password: hash("x"), regions: BTreeSet::new(), created_at: at(1) };
            store.create_user(&new).await.is_ok()
        })
    });
    let made = futures::future::join_all(crowd).await;
    assert_eq!(made.into_iter().filter(|made| *made.as_ref().unwrap()).count(), 1);
}

pub async fn a_change_raises_the_revision_and_nothing_else(store: AnyStore) {
    let user = make(&store).await;
    let regions = BTreeSet::from([Region::Uk, Region::Eu]);
    let changed = store.set_regions(&user.id, &regions).await.unwrap().unwrap();
    let expected = User { revision: changed.revision, regions, ..user.clone() };
    assert_eq!(changed, expected);
    assert!(changed.revision > user.revision);
    let none = store.set_regions(&user.id, &BTreeSet::new()).await.unwrap().unwrap();
    assert!(none.regions.is_empty() && none.revision > changed.revision);
    assert_eq!(store.user(&user.id).await.unwrap(), Some(none));
    assert_eq!(store.set_regions(&UserId::random(), &BTreeSet::new()).await.unwrap(), None);
}

pub async fn changes_at_once_are_all_counted(store: AnyStore) {
    let user = make(&store).await;
    let changes = (0..40).map(|number| {
        let (store, id) = (store.clone(), user.id.clone());
        let region = Region::ALL[number % Region::ALL.len()];
        tokio::spawn(async move { store.set_regions(&id, &BTreeSet::from([region])).await.unwrap().unwrap() })
    });
    let changed: Vec<User> = futures::future::join_all(changes).await.into_iter().map(Result::unwrap).collect();
    let stored = store.user(&user.id).await.unwrap().unwrap();
    assert_eq!(stored.revision, user.revision + 40, "none is lost");
    // Each call returns a state that was stored by its change or after it, so the newest one is the last.
    assert_eq!(changed.iter().max_by_key(|user| user.revision), Some(&stored));
}

pub async fn a_new_password_ends_sessions_and_replaces_only_what_is_known(store: AnyStore) {
    let user = make(&store).await;
    let open = session(&user, 100);
    store.create_session(&open).await.unwrap();
    assert_eq!(store.set_password(&user.id, Some(&hash("other")), &hash("second")).await.unwrap(), None);
    assert_eq!(store.session(&open.key, at(10)).await.unwrap(), Some(open.clone()));
    let changed = store.set_password(&user.id, Some(&hash("first")), &hash("second")).await.unwrap().unwrap();
    assert!(changed.epoch > user.epoch && changed.revision > user.revision);
    assert_eq!(store.session(&open.key, at(10)).await.unwrap(), None);
    let reset = store.set_password(&user.id, None, &hash("third")).await.unwrap().unwrap();
    assert!(reset.epoch > changed.epoch);
    assert_eq!(store.user_and_password(&user.name).await.unwrap(), Some((reset, hash("third"))));
}

pub async fn a_replaced_hash_changes_nothing_else(store: AnyStore) {
    let user = make(&store).await;
    store.rehash(&user.id, &hash("other"), &hash("wrong")).await.unwrap();
    store.rehash(&user.id, &hash("first"), &hash("same, stronger")).await.unwrap();
    let found = store.user_and_password(&user.name).await.unwrap();
    assert_eq!(found, Some((user, hash("same, stronger"))));
}

pub async fn a_disabled_user_has_no_sessions(store: AnyStore) {
    let user = make(&store).await;
    let open = session(&user, 100);
    store.create_session(&open).await.unwrap();
    let disabled = store.set_disabled(&user.id, true).await.unwrap().unwrap();
    assert!(disabled.disabled && disabled.epoch > user.epoch && disabled.revision > user.revision);
    assert_eq!(store.session(&open.key, at(10)).await.unwrap(), None);
    let enabled = store.set_disabled(&user.id, false).await.unwrap().unwrap();
    assert!(!enabled.disabled && enabled.epoch == disabled.epoch);
}

pub async fn an_operator_is_one_until_no_longer(store: AnyStore) {
    let user = make(&store).await;
    assert!(!user.is_operator);
    let granted = store.set_operator(&user.id, true).await.unwrap().unwrap();
    assert_eq!(granted, User { is_operator: true, revision: granted.revision, ..user.clone() });
    assert!(granted.revision > user.revision);
    store.set_password(&user.id, None, &hash("second")).await.unwrap().unwrap();
    assert!(store.user(&user.id).await.unwrap().unwrap().is_operator);
    assert!(!store.set_operator(&user.id, false).await.unwrap().unwrap().is_operator);
    assert_eq!(store.set_operator(&UserId::random(), true).await.unwrap(), None);
}

pub async fn actions_are_noted_and_read_from_the_newest(store: AnyStore) {
    // So old that they can be swept while nothing of other tests is.
    let long_ago = Timestamp::from_millis(0).plus_millis(-500 * 86_400_000);
    let begin = format!("0-{:08x}", rand::random::<u32>());
    let entry = |n: i64| AuditEntry {
        id: format!("{begin}-{n}"),
        at: long_ago.plus_millis(n),
        by: "anna".into(),
        address: "192.0.2.7".into(),
        agent: "a browser".into(),
        action: "disable_account".into(),
        about: format!("account {n}"),
        failure: String::new(),
    };
    for n in [2, 1, 3] {
        store.note_action(&entry(n)).await.unwrap();
    }
    let last = format!("{begin}-9");
    assert_eq!(store.actions(Some(&last), 2).await.unwrap(), [entry(3), entry(2)]);
    assert_eq!(store.actions(Some(&entry(2).id), 1).await.unwrap(), [entry(1)]);
    assert!(store.note_action(&entry(1)).await.is_err(), "nothing is written over");
    assert!(!store.actions(None, 1).await.unwrap().is_empty());
    store.sweep(Timestamp::from_millis(1)).await.unwrap();
    let left = store.actions(Some(&last), 3).await.unwrap();
    assert!(left.iter().all(|left| !left.id.starts_with(&begin)), "{left:?}");
}

pub async fn users_are_found_by_the_beginning_of_their_name(store: AnyStore) {
    let begin = format!("z{:08x}", rand::random::<u32>());
    for end in ["-c", "-A", "-b", ""] {
        let (id, name) = (UserId::random(), format!("{begin}{end}").parse().unwrap());
        let new = NewUser { id, name, password: hash("first"), regions: BTreeSet::new(), created_at: at(1) };
        store.create_user(&new).await.unwrap();
    }
    let names = async |after: &str, limit| -> Vec<String> {
        let found = store.users_named(&begin.to_uppercase(), after, limit).await.unwrap();
        found.into_iter().map(|user| user.name.as_str().replacen(&begin, "", 1)).collect()
    };
    assert_eq!(names("", 10).await, ["", "-A", "-b", "-c"]);
    assert_eq!(names("", 2).await, ["", "-A"]);
    assert_eq!(names(&format!("{begin}-a"), 10).await, ["-b", "-c"]);
    assert!(store.users_named(&format!("{begin}-d"), "", 10).await.unwrap().is_empty());
    assert!(store.users_named("", "", 2).await.unwrap().len() == 2);
}

pub async fn registration_is_as_it_was_decided(store: AnyStore) {
    for decided in [Some(true), Some(false), None, Some(true), None] {
        store.set_registration(decided).await.unwrap();
        assert_eq!(store.registration().await.unwrap(), decided);
    }
}

pub async fn sessions_expire_and_can_be_ended(store: AnyStore) {
    let user = make(&store).await;
    let mut open = session(&user, 100);
    store.create_session(&open).await.unwrap();
    assert_eq!(store.session(&open.key, at(99)).await.unwrap(), Some(open.clone()));
    assert_eq!(store.session(&open.key, at(100)).await.unwrap(), None);
    open.data.until = at(200);
    store.extend_session(&open).await.unwrap();
    assert_eq!(store.session(&open.key, at(150)).await.unwrap(), Some(open.clone()));
    let Changed { user: of, revision } = store.end_session(&open.key).await.unwrap().unwrap();
    assert!(of == user.id && revision > user.revision);
    assert_eq!(store.session(&open.key, at(150)).await.unwrap(), None);
    assert_eq!(store.end_session(&open.key).await.unwrap(), None);
}

pub async fn an_ended_session_is_not_brought_back(store: AnyStore) {
    let user = make(&store).await;
    let open = session(&user, 100);
    store.create_session(&open).await.unwrap();
    let ended = store.end_sessions(&user.id).await.unwrap().unwrap();
    assert!(ended.epoch > user.epoch && ended.revision > user.revision);
    store.extend_session(&open).await.unwrap();
    assert_eq!(store.session(&open.key, at(10)).await.unwrap(), None);
}

pub async fn tokens_belong_to_their_user(store: AnyStore) {
    let (anna, bert) = (make(&store).await, make(&store).await);
    let (new, text) = token(&anna, "my bot");
    let made = store.create_token(&new, 5).await.unwrap();
    assert_eq!((made.name.as_str(), &made.user, made.created_at, made.used_at), ("my bot", &anna.id, at(7), None));
    assert_eq!(store.tokens_of(&anna.id).await.unwrap(), std::slice::from_ref(&made));
    assert_eq!(store.tokens_of(&bert.id).await.unwrap(), []);
    assert_eq!(store.token(&text.hash()).await.unwrap(), Some(made.clone()));
    assert_eq!(store.token(&TokenText::random().hash()).await.unwrap(), None);
    assert_eq!(store.revoke_token(&bert.id, &made.id).await.unwrap(), None, "it belongs to another user");
    let changed = store.revoke_token(&anna.id, &made.id).await.unwrap().unwrap();
    assert!(changed.user == anna.id && changed.revision > anna.revision);
    assert_eq!(store.token(&text.hash()).await.unwrap(), None);
    assert_eq!(store.revoke_token(&anna.id, &made.id).await.unwrap(), None);
}

pub async fn the_number_of_tokens_is_limited(store: AnyStore) {
    let user = make(&store).await;
    let crowd = (0..12).map(|number| {
        let (store, new) = (store.clone(), token(&user, &format!("number {number}")).0);
        tokio::spawn(async move { store.create_token(&new, 5).await })
    });
    for made in futures::future::join_all(crowd).await {
        assert!(matches!(made.unwrap(), Ok(_) | Err(CreateTokenError::TooMany)));
    }
    assert!(store.tokens_of(&user.id).await.unwrap().len() <= 5);
    while store.create_token(&token(&user, "one more").0, 5).await.is_ok() {}
    assert_eq!(store.tokens_of(&user.id).await.unwrap().len(), 5);
}

pub async fn use_of_a_token_is_noted_and_goes_only_forward(store: AnyStore) {
    let user = make(&store).await;
    let (new, text) = token(&user, "my bot");
    store.create_token(&new, 5).await.unwrap();
    for (noted, shown) in [(50, 50), (40, 50), (60, 60)] {
        store.note_use(&new.id, at(noted)).await.unwrap();
        assert_eq!(store.token(&text.hash()).await.unwrap().unwrap().used_at, Some(at(shown)));
    }
}

pub async fn known_tells_what_there_is(store: AnyStore) {
    let user = make(&store).await;
    let (open, over) = (session(&user, 100), SessionKey::of_cookie("BAAAAAAAAAAAAAAAAAAAAA").unwrap());
    store.create_session(&open).await.unwrap();
    let (new, _) = token(&user, "my bot");
    store.create_token(&new, 5).await.unwrap();
    let users = [user.id.clone(), UserId::random()];
    let tokens = [new.id.clone(), TokenId::random()];
    let known = store.known(&users, &[open.key.clone(), over], &tokens, at(50), at(0)).await.unwrap();
    assert_eq!(known.revisions.into_iter().collect::<Vec<_>>(), [(user.id, user.revision)]);
    assert_eq!(known.sessions.into_iter().collect::<Vec<_>>(), std::slice::from_ref(&open.key));
    assert_eq!(known.tokens.into_iter().collect::<Vec<_>>(), std::slice::from_ref(&new.id));
    let later = store.known(&[], std::slice::from_ref(&open.key), &[], at(100), at(0)).await.unwrap();
    assert!(later.sessions.is_empty() && later.revisions.is_empty());
    assert!(store.sweep(at(100)).await.unwrap() >= 1);
    store.extend_session(&open).await.unwrap();
    assert_eq!(store.session(&open.key, at(50)).await.unwrap(), None, "it is swept away");
}

pub async fn tokens_expire_by_their_own_limit_and_by_the_common_one(store: AnyStore) {
    let user = make(&store).await;
    let (plain, _) = token(&user, "plain");
    let (short, text) = token(&user, "short");
    let short = NewToken { expires_at: Some(at(60)), ..short };
    for new in [&plain, &short] {
        store.create_token(new, 5).await.unwrap();
    }
    assert_eq!(store.token(&text.hash()).await.unwrap().unwrap().expires_at, Some(at(60)));
    let known = async |now, oldest| {
        let ids = [plain.id.clone(), short.id.clone()];
        let known = store.known(&[], &[], &ids, at(now), at(oldest)).await.unwrap();
        [known.tokens.contains(&plain.id), known.tokens.contains(&short.id)]
    };
    assert_eq!(known(59, 6).await, [true, true]);
    assert_eq!(known(60, 6).await, [true, false], "its own limit");
    assert_eq!(known(59, 7).await, [false, false], "the common limit");
}

pub async fn sessions_are_listed_until_they_end(store: AnyStore) {
    let [anna, bert] = [make(&store).await, make(&store).await];
    let mut second = session(&anna, 200);
    second.key = SessionKey::of_cookie(UserId::random().as_str()).unwrap();
    second.data.since = at(6);
    let (first, of_bert) = (session(&anna, 100), session(&bert, 100));
    for session in [&second, &first, &of_bert] {
        store.create_session(session).await.unwrap();
    }
    assert_eq!(store.sessions_of(&anna.id, at(50)).await.unwrap(), [first, second.clone()], "the oldest first");
    assert_eq!(store.sessions_of(&anna.id, at(100)).await.unwrap(), std::slice::from_ref(&second));
    store.end_session(&second.key).await.unwrap();
    assert_eq!(store.sessions_of(&anna.id, at(100)).await.unwrap(), []);
}

pub async fn a_writable_store_passes_its_check(store: AnyStore) {
    for now in [at(1), at(2)] {
        store.check_writable(now).await.unwrap();
    }
}

pub async fn places_are_remembered_for_a_while(store: AnyStore) {
    let [anna, other] = [make(&store).await, make(&store).await];
    let network: std::net::IpAddr = "192.0.2.7".parse().unwrap();
    let place = Place::of(&anna.id, network);
    assert!(!store.is_familiar(&place).await.unwrap());
    let noted = at(10_000_000);
    for at in [noted, at(1)] {
        store.note_place(&anna.id, &place, at).await.unwrap();
    }
    assert!(store.is_familiar(&place).await.unwrap());
    assert!(!store.is_familiar(&Place::of(&other.id, network)).await.unwrap());
    let lasts = FAMILIAR_FOR.as_millis() as i64;
    store.sweep(noted.plus_millis(lasts)).await.unwrap();
    assert!(store.is_familiar(&place).await.unwrap());
    store.sweep(noted.plus_millis(lasts + 1)).await.unwrap();
    assert!(!store.is_familiar(&place).await.unwrap());

    store.note_place(&anna.id, &place, noted).await.unwrap();
    store.delete_user(&anna.id).await.unwrap();
    assert!(!store.is_familiar(&place).await.unwrap(), "it is deleted with its user");
}

pub async fn a_deleted_user_leaves_nothing(store: AnyStore) {
    let user = make(&store).await;
    let open = session(&user, 100);
    store.create_session(&open).await.unwrap();
    let (new, text) = token(&user, "my bot");
    store.create_token(&new, 5).await.unwrap();
    assert!(store.delete_user(&user.id).await.unwrap());
    assert_eq!(store.user(&user.id).await.unwrap(), None);
    assert_eq!(store.session(&open.key, at(10)).await.unwrap(), None);
    assert_eq!(store.token(&text.hash()).await.unwrap(), None);
    assert_eq!(store.tokens_of(&user.id).await.unwrap(), []);
    assert_eq!(store.set_regions(&user.id, &BTreeSet::new()).await.unwrap(), None);
    assert!(!store.delete_user(&user.id).await.unwrap());
    // The name is free again.
    let (id, name) = (UserId::random(), user.name);
    let new = NewUser { id, name, password: hash("x"), regions: BTreeSet::new(), created_at: at(1) };
    store.create_user(&new).await.unwrap();
}

fn contacts(fields: &str) -> Contacts {
    serde_json::from_str(&format!("{{{fields}}}")).unwrap()
}

pub async fn addresses_are_changed_by_one_at_a_time(store: AnyStore) {
    let user = make(&store).await;
    let (none, version) = store.contacts(&user.id).await.unwrap().unwrap();
    assert_eq!((none, version), (Contacts::default(), 0));
    const EMAIL: &str = r#""email":{"address":"anna@example.com","alerts":true}"#;
    let email = contacts(EMAIL);
    assert!(store.set_contacts(&user.id, 0, &email).await.unwrap());
    assert!(!store.set_contacts(&user.id, 0, &Contacts::default()).await.unwrap(), "somebody was faster");
    assert_eq!(store.contacts(&user.id).await.unwrap(), Some((email, 1)));
    let quiet = r#""quiet_hours":{"from":"22:00","until":"07:00","time_zone":"Europe/London"}"#;
    let both = contacts(&format!("{EMAIL},{quiet}"));
    assert!(store.set_contacts(&user.id, 1, &both).await.unwrap());
    assert!(!store.set_contacts(&user.id, 1, &Contacts::default()).await.unwrap());
    assert_eq!(store.contacts(&user.id).await.unwrap(), Some((both, 2)));
    assert_eq!(store.user(&user.id).await.unwrap(), Some(user.clone()), "nothing else has changed");
    let nobody = UserId::random();
    assert_eq!(store.contacts(&nobody).await.unwrap(), None);
    assert!(!store.set_contacts(&nobody, 0, &Contacts::default()).await.unwrap());
    assert!(store.delete_user(&user.id).await.unwrap());
    assert_eq!(store.contacts(&user.id).await.unwrap(), None);
}

pub async fn users_are_found_by_a_confirmed_address(store: AnyStore) {
    let (one, other) = (make(&store).await, make(&store).await);
    let address = format!("Anna.{}@example.com", one.id.as_str());
    let given = contacts(&format!(r#""email":{{"address":"{address}","alerts":true}}"#));
    let confirmed =
        contacts(&format!(r#""email":{{"address":"{address}","confirmed_at":"2026-01-01T00:00:00Z","alerts":true}}"#));
    for (user, contacts) in [(&one, &confirmed), (&other, &given)] {
        assert!(store.set_contacts(&user.id, 0, contacts).await.unwrap());
    }
    let found = store.users_with_email(&address.to_uppercase(), 5).await.unwrap();
    assert_eq!(found, std::slice::from_ref(&one));
    assert!(store.set_contacts(&other.id, 1, &confirmed).await.unwrap());
    assert_eq!(store.users_with_email(&address, 5).await.unwrap().len(), 2);
    assert_eq!(store.users_with_email(&address, 1).await.unwrap().len(), 1);
    assert!(store.set_contacts(&one.id, 1, &Contacts::default()).await.unwrap());
    assert_eq!(store.users_with_email(&address, 5).await.unwrap(), [other]);
}
