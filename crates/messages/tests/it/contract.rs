//! What every outbox does. Each function gets an open one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use messages::{
    Begun, Channel, Claim, Content, Finished, Limit, MessageId, NewMessage, Outbox, OutboxCounts, Outcome,
    ProduceRequest, Produced, State, StatusReport, StoredMessage,
};
use odds::Timestamp;

/// One `#[tokio::test]` for each function here, on the outbox that `$open` gives.
#[macro_export]
macro_rules! contract {
    ($open:expr, $(#[$attribute:meta])*) => {
        $crate::contract!(
            $open, [$(#[$attribute])*]
            a_message_is_added_once_for_each_channel
            a_message_is_claimed_by_one_worker_and_sent_once
            a_recipient_gets_one_message_at_a_time_in_their_order
            a_retry_waits_and_does_not_delay_later_messages
            a_worker_that_is_late_loses_its_lease_and_its_successor_takes_over
            what_a_late_worker_says_counts_only_if_it_was_sent
            a_batch_whose_end_is_unknown_is_claimed_again_as_it_was
            what_another_worker_may_have_sent_is_remembered_when_it_is_given_back
            a_message_that_is_added_while_another_is_sent_is_not_forgotten
            workers_at_once_never_send_the_same
            a_provider_reports_what_became_of_a_message
            a_report_is_about_all_that_was_sent_together
            what_is_not_to_be_sent_is_kept_with_its_reason
            a_recipient_that_there_is_not_is_known_from_then_on
            limits_are_those_of_a_day
            messages_of_a_user_come_in_pages_the_newest_first
            what_is_open_is_counted
            what_was_finished_long_ago_is_forgotten
            nothing_of_a_user_who_has_left_stays_but_what_is_for_others
            a_request_is_carried_out_once
            a_request_whose_first_run_died_is_carried_out_as_it_was_decided
            requests_are_listed_in_their_order
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
            $crate::contract::$name(open.outbox.clone()).await;
        }
    };
}

pub type Store = Arc<dyn Outbox>;

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn id(text: &str) -> MessageId {
    text.parse().unwrap()
}

pub fn message(name: &str, recipient: &str) -> NewMessage {
    NewMessage {
        id: id(name),
        channel: Channel::Email,
        recipient: recipient.to_owned(),
        user: Some("anna".into()),
        content: Content::Transaction { transaction_id: name.to_owned(), body: "Hello".into() },
        created_at: at(0),
        deadline: at(1_000_000),
        skipped: None,
    }
}

/// Claims for 300 seconds.
pub async fn claim(outbox: &Store, holder: &str, now: i64, most: usize) -> Vec<Claim> {
    outbox.claim(Channel::Email, holder, at(now), at(now + 300), most).await.unwrap()
}

fn ids(messages: &[StoredMessage]) -> Vec<&str> {
    messages.iter().map(|it| it.message.id.as_str()).collect()
}

fn claimed(claims: &[Claim]) -> BTreeMap<&str, Vec<&str>> {
    claims.iter().map(|it| (it.lease.recipient.as_str(), ids(&it.messages))).collect()
}

fn ended(claim: &Claim, outcome: Outcome) -> Finished {
    Finished {
        lease: claim.lease.clone(),
        messages: claim.messages.iter().map(|it| it.message.id.clone()).collect(),
        outcome,
        detail: Some("the provider's words".into()),
    }
}

fn unknown() -> Outcome {
    Outcome::Unknown { batch: "b".into() }
}

fn sent() -> Outcome {
    Outcome::Sent { provider_id: None }
}

async fn finish(outbox: &Store, claims: &[Claim], outcome: Outcome, now: i64) {
    let finished: Vec<Finished> = claims.iter().map(|claim| ended(claim, outcome.clone())).collect();
    outbox.finish(&finished, at(now)).await.unwrap();
}

async fn state(outbox: &Store, name: &str) -> State {
    outbox.message(Channel::Email, &id(name)).await.unwrap().unwrap().state
}

pub async fn a_message_is_added_once_for_each_channel(outbox: Store) {
    let email = message("a", "anna@example.com");
    let sms = NewMessage { channel: Channel::Sms, recipient: "+447700900123".into(), ..email.clone() };
    assert_eq!(outbox.add(&[email.clone(), sms.clone()], at(1)).await.unwrap(), 2);
    let other = NewMessage { recipient: "eve@example.com".into(), ..email.clone() };
    assert_eq!(outbox.add(&[other, message("b", "bo@example.com")], at(2)).await.unwrap(), 1);
    let stored = outbox.message(Channel::Email, &email.id).await.unwrap().unwrap();
    assert_eq!(stored.message, email);
    assert_eq!((stored.state, stored.attempts, stored.detail), (State::Waiting, 0, None));
    assert_eq!(outbox.message(Channel::Sms, &sms.id).await.unwrap().unwrap().message, sms);
    assert_eq!(outbox.message(Channel::Sms, &id("b")).await.unwrap(), None);
    let claims = claim(&outbox, "w", 3, 10).await;
    assert_eq!(claimed(&claims), BTreeMap::from([("anna@example.com", vec!["a"]), ("bo@example.com", vec!["b"])]));
}

pub async fn a_message_is_claimed_by_one_worker_and_sent_once(outbox: Store) {
    outbox.add(&[message("a", "anna@example.com")], at(1)).await.unwrap();
    assert_eq!(claim(&outbox, "early", 0, 10).await, []);
    let claims = claim(&outbox, "one", 1, 10).await;
    assert_eq!(state(&outbox, "a").await, State::Sending);
    assert_eq!(claim(&outbox, "two", 2, 10).await, []);
    let provider_id = Some("p-1".to_owned());
    finish(&outbox, &claims, Outcome::Sent { provider_id: provider_id.clone() }, 3).await;
    let stored = outbox.message(Channel::Email, &id("a")).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.provider_id, stored.changed_at), (State::Sent, provider_id, at(3)));
    assert_eq!(stored.detail.as_deref(), Some("the provider's words"));
    assert_eq!(claim(&outbox, "three", 10_000, 10).await, []);
    // Read again from Kafka.
    assert_eq!(outbox.add(&[message("a", "anna@example.com")], at(4)).await.unwrap(), 0);
    assert_eq!(claim(&outbox, "four", 10_000, 10).await, []);
}

pub async fn a_recipient_gets_one_message_at_a_time_in_their_order(outbox: Store) {
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    outbox.add(&names.map(|name| message(name, "anna@example.com")), at(1)).await.unwrap();
    outbox.add(&[message("z", "bo@example.com")], at(1)).await.unwrap();
    let mut order = Vec::new();
    for round in 0..7 {
        let claims = claim(&outbox, &format!("w{round}"), 2, 10).await;
        let of_anna = claims.iter().find(|it| it.lease.recipient == "anna@example.com").unwrap();
        order.extend(ids(&of_anna.messages).into_iter().map(ToOwned::to_owned));
        assert_eq!(claims.len(), if round == 0 { 2 } else { 1 });
        finish(&outbox, &claims, sent(), 2).await;
    }
    assert_eq!(order, names);
    assert_eq!(claim(&outbox, "last", 3, 10).await, []);
}

pub async fn a_retry_waits_and_does_not_delay_later_messages(outbox: Store) {
    outbox.add(&[message("a", "anna@example.com"), message("b", "anna@example.com")], at(1)).await.unwrap();
    let claims = claim(&outbox, "one", 1, 10).await;
    assert_eq!(claimed(&claims)["anna@example.com"], ["a"]);
    finish(&outbox, &claims, Outcome::Later { due_at: at(50), batch: None }, 2).await;
    assert_eq!(state(&outbox, "a").await, State::Waiting);
    let claims = claim(&outbox, "two", 2, 10).await;
    assert_eq!(claimed(&claims)["anna@example.com"], ["b"]);
    finish(&outbox, &claims, sent(), 3).await;
    assert_eq!(claim(&outbox, "three", 49, 10).await, []);
    let claims = claim(&outbox, "four", 50, 10).await;
    assert_eq!((claimed(&claims)["anna@example.com"].clone(), claims[0].messages[0].attempts), (vec!["a"], 1));
    finish(&outbox, &claims, Outcome::Failed, 51).await;
    assert_eq!(state(&outbox, "a").await, State::Failed);
}

pub async fn a_worker_that_is_late_loses_its_lease_and_its_successor_takes_over(outbox: Store) {
    outbox.add(&[message("a", "anna@example.com"), message("b", "anna@example.com")], at(1)).await.unwrap();
    let first = claim(&outbox, "late", 1, 10).await;
    assert!(!first[0].is_taken_over);
    assert_eq!(claim(&outbox, "early", 300, 10).await, []);
    let second = claim(&outbox, "next", 301, 10).await;
    assert_eq!(claimed(&second)["anna@example.com"], ["a"], "what was begun comes first");
    assert!(second[0].is_taken_over);
    finish(&outbox, &second, sent(), 302).await;
    let third = claim(&outbox, "then", 302, 10).await;
    assert_eq!(claimed(&third)["anna@example.com"], ["b"]);
    assert!(!third[0].is_taken_over);
}

pub async fn what_a_late_worker_says_counts_only_if_it_was_sent(outbox: Store) {
    outbox.add(&[message("a", "anna@example.com"), message("b", "bo@example.com")], at(1)).await.unwrap();
    let late = claim(&outbox, "late", 1, 10).await;
    let next = claim(&outbox, "next", 301, 10).await;
    finish(&outbox, &next, unknown(), 302).await;
    finish(&outbox, &late[..1], Outcome::Later { due_at: at(303), batch: None }, 303).await;
    let [one, other] = [&late[0], &late[1]].map(|it| it.messages[0].message.id.as_str());
    assert_eq!(state(&outbox, one).await, State::Unknown, "it has no say any more");
    finish(&outbox, &late[1..], sent(), 303).await;
    assert_eq!(state(&outbox, other).await, State::Sent, "that is certain");
    assert_eq!(claim(&outbox, "last", 10_000, 10).await, []);
}

pub async fn a_batch_whose_end_is_unknown_is_claimed_again_as_it_was(outbox: Store) {
    outbox.add(&[message("a", "anna@example.com")], at(1)).await.unwrap();
    let claims = claim(&outbox, "one", 1, 10).await;
    finish(&outbox, &claims, Outcome::Later { due_at: at(5), batch: Some("batch".into()) }, 2).await;
    outbox.add(&[message("b", "anna@example.com")], at(6)).await.unwrap();
    let claims = claim(&outbox, "two", 6, 10).await;
    assert_eq!(claimed(&claims)["anna@example.com"], ["a"]);
    assert_eq!(claims[0].messages[0].batch.as_deref(), Some("batch"));
    // Also if it is given back.
    finish(&outbox, &claims, claims[0].postponed(at(7)), 6).await;
    let claims = claim(&outbox, "three", 8, 10).await;
    assert_eq!(claimed(&claims)["anna@example.com"], ["a"]);
    assert_eq!(claims[0].messages[0].batch.as_deref(), Some("batch"));
}

pub async fn what_another_worker_may_have_sent_is_remembered_when_it_is_given_back(outbox: Store) {
    let sms = NewMessage { channel: Channel::Sms, ..message("s", "+441632960000") };
    outbox.add(&[sms, message("e", "anna@example.com")], at(1)).await.unwrap();
    for channel in [Channel::Email, Channel::Sms] {
        assert_eq!(outbox.claim(channel, "killed", at(1), at(301), 10).await.unwrap().len(), 1);
        let claims = outbox.claim(channel, "stopped", at(302), at(602), 10).await.unwrap();
        assert!(claims[0].is_taken_over);
        finish(&outbox, &claims, claims[0].postponed(at(302)), 302).await;
    }
    assert_eq!(outbox.claim(Channel::Sms, "next", at(303), at(603), 10).await.unwrap(), [], "it may have been sent");
    let unknown = outbox.message(Channel::Sms, &id("s")).await.unwrap().unwrap();
    assert_eq!(unknown.state, State::Unknown);
    let claims = outbox.claim(Channel::Email, "next", at(303), at(603), 10).await.unwrap();
    assert_eq!(claimed(&claims)["anna@example.com"], ["e"]);
    assert!(claims[0].batch().is_some(), "under the same Message-ID");
}

pub async fn a_message_that_is_added_while_another_is_sent_is_not_forgotten(outbox: Store) {
    for round in 0..20 {
        let (first, second) = (format!("first-{round}"), format!("second-{round}"));
        outbox.add(&[message(&first, "anna@example.com")], at(round)).await.unwrap();
        let claims = claim(&outbox, &format!("one-{round}"), round, 10).await;
        assert_eq!(claims.len(), 1);
        // At the same time, so that one may come between any two writes of the other.
        let second = [message(&second, "anna@example.com")];
        let (added, ()) =
            tokio::join!(outbox.add(&second, at(round)), async { finish(&outbox, &claims, sent(), round).await });
        assert_eq!(added.unwrap(), 1);
        let claims = claim(&outbox, &format!("two-{round}"), round, 10).await;
        assert_eq!(claims.len(), 1, "in round {round}");
        finish(&outbox, &claims, sent(), round).await;
    }
}

pub async fn workers_at_once_never_send_the_same(outbox: Store) {
    let messages: Vec<NewMessage> =
        (0..200).map(|n| message(&format!("m-{n}"), &format!("user-{}@example.com", n % 40))).collect();
    outbox.add(&messages, at(1)).await.unwrap();
    let workers = (0..4).map(|worker| {
        let outbox = outbox.clone();
        tokio::spawn(async move {
            let mut done: Vec<String> = Vec::new();
            for round in 0.. {
                let claims = claim(&outbox, &format!("w{worker}-{round}"), 2, 7).await;
                if claims.is_empty() && round > 20 {
                    return done;
                }
                done.extend(claims.iter().flat_map(|it| ids(&it.messages)).map(ToOwned::to_owned));
                finish(&outbox, &claims, sent(), 2).await;
            }
            done
        })
    });
    let mut all = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        all.extend(worker.await.unwrap());
    }
    // Recipients that another worker held at the end.
    loop {
        let claims = claim(&outbox, &format!("rest-{}", all.len()), 2, 50).await;
        if claims.is_empty() {
            break;
        }
        all.extend(claims.iter().flat_map(|it| ids(&it.messages)).map(ToOwned::to_owned));
        finish(&outbox, &claims, sent(), 2).await;
    }
    assert_eq!(all.len(), 200);
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), 200);
}

pub async fn a_provider_reports_what_became_of_a_message(outbox: Store) {
    outbox.add(&[message("a", "anna@example.com")], at(1)).await.unwrap();
    let claims = claim(&outbox, "one", 1, 10).await;
    finish(&outbox, &claims, unknown(), 2).await;
    let report = async |name: &str, state: State| {
        let id = id(name);
        let report = StatusReport { id: Some(&id), ..by_id("p-1", state) };
        outbox.report(&report, at(3)).await.unwrap()
    };
    assert!(report("a", State::Sent).await);
    assert_eq!(state(&outbox, "a").await, State::Sent);
    assert!(report("a", State::Delivered).await);
    assert!(report("a", State::Sent).await, "reports may overtake each other");
    let stored = outbox.message(Channel::Email, &id("a")).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.detail.as_deref()), (State::Delivered, Some("reported")));
    assert_eq!(stored.provider_id.as_deref(), Some("p-1"));
    let unknown = id("b");
    let report = StatusReport { id: Some(&unknown), provider_id: None, ..by_id("p-1", State::Sent) };
    assert!(!outbox.report(&report, at(3)).await.unwrap());
}

/// A report about a message that the provider knows by this id.
fn by_id(provider_id: &str, state: State) -> StatusReport<'_> {
    StatusReport { channel: Channel::Email, id: None, provider_id: Some(provider_id), state, detail: Some("reported") }
}

pub async fn a_report_is_about_all_that_was_sent_together(outbox: Store) {
    let alert = |name: &str| {
        let content = Content::Alert { title: "A - B".into(), text: name.to_owned(), at: at(0) };
        NewMessage { content, ..message(name, "anna@example.com") }
    };
    let states = async |names: [&str; 4]| {
        let mut states = Vec::new();
        for name in names {
            states.push(state(&outbox, name).await);
        }
        states
    };
    let first = ["a", "b", "c", "d"];
    outbox.add(&first.map(alert), at(1)).await.unwrap();
    let claims = claim(&outbox, "one", 1, 10).await;
    assert_eq!(claimed(&claims), BTreeMap::from([("anna@example.com", first.to_vec())]), "a digest");
    finish(&outbox, &claims, Outcome::Sent { provider_id: Some("p-1".into()) }, 2).await;
    assert!(outbox.report(&by_id("p-1", State::Delivered), at(3)).await.unwrap());
    assert_eq!(states(first).await, [State::Delivered; 4]);
    // The answer was lost: the provider's id is not known, but that of the first message.
    let second = ["e", "f", "g", "h"];
    outbox.add(&second.map(alert), at(4)).await.unwrap();
    let claims = claim(&outbox, "two", 4, 10).await;
    finish(&outbox, &claims, unknown(), 5).await;
    let first_id = id("e");
    let report = StatusReport { id: Some(&first_id), ..by_id("p-2", State::Delivered) };
    assert!(outbox.report(&report, at(6)).await.unwrap());
    assert_eq!(states(second).await, [State::Delivered; 4]);
    assert!(!outbox.report(&by_id("p-3", State::Sent), at(7)).await.unwrap());
}

pub async fn what_is_not_to_be_sent_is_kept_with_its_reason(outbox: Store) {
    let skipped = NewMessage { skipped: Some("quiet hours".into()), ..message("a", "anna@example.com") };
    assert_eq!(outbox.add(std::slice::from_ref(&skipped), at(1)).await.unwrap(), 1);
    assert_eq!(claim(&outbox, "one", 2, 10).await, []);
    let stored = outbox.message(Channel::Email, &id("a")).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.detail.as_deref()), (State::Skipped, Some("quiet hours")));
    assert_eq!(stored.message, skipped);
    assert_eq!(outbox.counts(Channel::Email).await.unwrap(), OutboxCounts::default());
    assert_eq!(outbox.forget(at(2), at(0), at(2), 10).await.unwrap(), 1);
}

pub async fn a_recipient_that_there_is_not_is_known_from_then_on(outbox: Store) {
    outbox.add(&[message("a", "gone@example.com"), message("b", "anna@example.com")], at(1)).await.unwrap();
    let claims = claim(&outbox, "one", 1, 10).await;
    assert!(claims.iter().all(|claim| claim.suppressed.is_none()));
    for claim in &claims {
        let outcome = if claim.lease.recipient == "gone@example.com" { Outcome::NoRecipient } else { Outcome::Failed };
        finish(&outbox, std::slice::from_ref(claim), outcome, 2).await;
    }
    assert_eq!(state(&outbox, "a").await, State::Failed);
    outbox.add(&[message("c", "gone@example.com"), message("d", "anna@example.com")], at(3)).await.unwrap();
    let reason = |claims: &[Claim], of: &str| {
        let claim = claims.iter().find(|it| it.lease.recipient == of).unwrap();
        claim.suppressed.clone()
    };
    let claims = claim(&outbox, "two", 3, 10).await;
    assert_eq!(reason(&claims, "gone@example.com").as_deref(), Some("the provider's words"));
    assert_eq!(reason(&claims, "anna@example.com"), None, "that was about the message");
    finish(&outbox, &claims, Outcome::Skipped, 4).await;
    outbox.suppress(Channel::Email, "gone@example.com", None, at(5)).await.unwrap();
    outbox.suppress(Channel::Sms, "anna@example.com", Some("another channel"), at(5)).await.unwrap();
    outbox.suppress(Channel::Email, "bo@example.com", Some("stop"), at(5)).await.unwrap();
    outbox.suppress(Channel::Email, "bo@example.com", Some("stop again"), at(5)).await.unwrap();
    let more = ["gone@example.com", "anna@example.com", "bo@example.com"].map(|it| message(&format!("e-{it}"), it));
    outbox.add(&more, at(6)).await.unwrap();
    let claims = claim(&outbox, "three", 6, 10).await;
    assert_eq!(reason(&claims, "gone@example.com"), None);
    assert_eq!(reason(&claims, "anna@example.com"), None);
    assert_eq!(reason(&claims, "bo@example.com").as_deref(), Some("stop again"));
}

pub async fn limits_are_those_of_a_day(outbox: Store) {
    const DAY: i64 = 24 * 3_600;
    let limit = |of: &str, most| Limit { of: of.to_owned(), most };
    let (anna, all) = (limit("sms of anna", 2), limit("sms", 3));
    let both = [anna.clone(), all.clone()];
    assert_eq!(outbox.spend(&both, at(0)).await.unwrap(), None);
    assert_eq!(outbox.spend(&both, at(DAY - 1)).await.unwrap(), None);
    assert_eq!(outbox.spend(&both, at(DAY - 1)).await.unwrap(), Some(anna));
    // What was refused counts for nothing.
    let bo = [limit("sms of bo", 2), all.clone()];
    assert_eq!(outbox.spend(&bo, at(DAY - 1)).await.unwrap(), None);
    assert_eq!(outbox.spend(&bo, at(DAY - 1)).await.unwrap(), Some(all));
    assert_eq!(outbox.spend(&[limit("sms of bo", 2)], at(DAY - 1)).await.unwrap(), None);
    assert_eq!(outbox.spend(&[limit("sms of bo", 2)], at(DAY - 1)).await.unwrap(), Some(limit("sms of bo", 2)));
    assert_eq!(outbox.spend(&both, at(DAY)).await.unwrap(), None, "the next day");
    outbox.forget(at(0), at(0), at(DAY), 10).await.unwrap();
    assert_eq!(outbox.spend(&both, at(DAY)).await.unwrap(), None);
    assert!(outbox.spend(&both, at(DAY)).await.unwrap().is_some(), "today's count is not forgotten");
    // Many at once never spend more.
    let spending = (0..20).map(|_| {
        let outbox = outbox.clone();
        tokio::spawn(async move { outbox.spend(&[Limit { of: "x".into(), most: 7 }], at(0)).await.unwrap().is_none() })
    });
    let mut spent = 0;
    for task in spending.collect::<Vec<_>>() {
        spent += usize::from(task.await.unwrap());
    }
    assert!((1..=7).contains(&spent), "{spent}");
}

pub async fn messages_of_a_user_come_in_pages_the_newest_first(outbox: Store) {
    let of_anna: Vec<NewMessage> = (0..5).map(|n| message(&format!("m-{n}"), "anna@example.com")).collect();
    outbox.add(&of_anna, at(1)).await.unwrap();
    let of_others = [("x", Some("bo")), ("y", None)]
        .map(|(name, user)| NewMessage { user: user.map(Into::into), ..message(name, "anna@example.com") });
    outbox.add(&of_others, at(2)).await.unwrap();
    let page = outbox.messages_of("anna", None, 3).await.unwrap();
    assert_eq!(ids(&page), ["m-4", "m-3", "m-2"]);
    let page = outbox.messages_of("anna", Some(page[2].order), 3).await.unwrap();
    assert_eq!(ids(&page), ["m-1", "m-0"]);
    assert_eq!(ids(&outbox.messages_of("bo", None, 3).await.unwrap()), ["x"]);
    assert_eq!(outbox.messages_of("eve", None, 3).await.unwrap(), []);
}

pub async fn what_is_open_is_counted(outbox: Store) {
    assert_eq!(outbox.counts(Channel::Email).await.unwrap(), OutboxCounts::default());
    let old = NewMessage { created_at: at(-50), ..message("a", "anna@example.com") };
    outbox.add(&[old, message("b", "bo@example.com")], at(1)).await.unwrap();
    assert_eq!(outbox.counts(Channel::Email).await.unwrap(), OutboxCounts { open: 2, oldest: Some(at(-50)) });
    assert_eq!(outbox.counts(Channel::Sms).await.unwrap(), OutboxCounts::default());
    let claims = claim(&outbox, "one", 1, 10).await;
    assert_eq!(outbox.counts(Channel::Email).await.unwrap().open, 2);
    finish(&outbox, &claims, Outcome::Expired, 2).await;
    assert_eq!(outbox.counts(Channel::Email).await.unwrap(), OutboxCounts::default());
}

pub async fn what_was_finished_long_ago_is_forgotten(outbox: Store) {
    outbox.add(&["a", "b", "c"].map(|name| message(name, &format!("{name}@example.com"))), at(1)).await.unwrap();
    let claims = claim(&outbox, "one", 1, 2).await;
    finish(&outbox, &claims[..1], sent(), 10).await;
    finish(&outbox, &claims[1..], sent(), 20).await;
    outbox.begin_request(&request("r-1", "hash", 5), at(5), at(6)).await.unwrap();
    assert_eq!(outbox.forget(at(10), at(5), at(20), 100).await.unwrap(), 0);
    assert_eq!(outbox.forget(at(15), at(6), at(20), 100).await.unwrap(), 2);
    assert_eq!(outbox.forget(at(10_000), at(10_000), at(10_000), 100).await.unwrap(), 1, "what is open stays");
    assert_eq!(outbox.counts(Channel::Email).await.unwrap().open, 1);
}

pub async fn nothing_of_a_user_who_has_left_stays_but_what_is_for_others(outbox: Store) {
    let alert = |name: &str, user: &str| NewMessage {
        user: Some(user.into()),
        content: Content::Alert { title: "Anna".into(), text: "Above 2.5".into(), at: at(0) },
        ..message(name, &format!("{name}@example.com"))
    };
    outbox.add(&[message("sent", "x@example.com"), alert("known", "anna")], at(1)).await.unwrap();
    let claims = claim(&outbox, "one", 1, 10).await;
    finish(&outbox, &claims, sent(), 2).await;
    outbox.add(&[message("open", "y@example.com"), alert("hers", "anna"), alert("his", "bert")], at(3)).await.unwrap();
    outbox.begin_request(&request("r-1", "hash", 4), at(4), at(5)).await.unwrap();
    outbox.forget_user("anna").await.unwrap();
    assert_eq!(outbox.messages_of("anna", None, 10).await.unwrap(), []);
    assert_eq!(outbox.requests_since(at(0), None, 10).await.unwrap(), []);
    assert_eq!(ids(&outbox.messages_of("bert", None, 10).await.unwrap()), ["his"]);
    let claims = claim(&outbox, "two", 10, 10).await;
    let sent: BTreeSet<&str> = claims.iter().flat_map(|claim| ids(&claim.messages)).collect();
    assert_eq!(sent, BTreeSet::from(["open", "his"]));
    assert!(claims.iter().all(|claim| claim.messages[0].message.user.as_deref() != Some("anna")));
}

fn request(request_id: &str, hash: &str, began: i64) -> ProduceRequest {
    ProduceRequest {
        user: "anna".into(),
        request_id: request_id.into(),
        topic: "transactions".into(),
        hash: hash.into(),
        partition: 1,
        message_id: id(&format!("m-{request_id}-{began}")),
        key: Some("k".into()),
        value: "{}".into(),
        began_at: at(began),
    }
}

fn produced() -> Produced {
    Produced { partition: 1, offset: 17, timestamp: at(7), latency_ms: 3 }
}

pub async fn a_request_is_carried_out_once(outbox: Store) {
    let first = request("r", "hash", 1);
    let begin =
        async |request: &ProduceRequest, now| outbox.begin_request(request, at(now), at(now + 10)).await.unwrap();
    assert_eq!(begin(&first, 1).await, Begun::New(first.clone()));
    let again = request("r", "hash", 2);
    assert_eq!(begin(&again, 2).await, Begun::Running);
    assert_eq!(begin(&request("r", "other", 2), 2).await, Begun::Reused);
    outbox.finish_request("anna", "r", &produced()).await.unwrap();
    assert_eq!(begin(&again, 3).await, Begun::Done(produced()));
    assert_eq!(begin(&request("r", "other", 2), 2).await, Begun::Reused);
    // Another run of the same request came later.
    outbox.finish_request("anna", "r", &Produced { offset: 99, ..produced() }).await.unwrap();
    assert_eq!(begin(&again, 100).await, Begun::Done(produced()));
    let of_bo = ProduceRequest { user: "bo".into(), ..request("r", "other", 2) };
    assert_eq!(begin(&of_bo, 4).await, Begun::New(of_bo.clone()));
}

pub async fn a_request_whose_first_run_died_is_carried_out_as_it_was_decided(outbox: Store) {
    let first = request("r", "hash", 1);
    outbox.begin_request(&first, at(1), at(11)).await.unwrap();
    let again = ProduceRequest { partition: 2, ..request("r", "hash", 12) };
    assert_eq!(outbox.begin_request(&again, at(10), at(20)).await.unwrap(), Begun::Running);
    let many = (0..8).map(|_| {
        let (outbox, again) = (outbox.clone(), again.clone());
        tokio::spawn(async move { outbox.begin_request(&again, at(11), at(21)).await.unwrap() })
    });
    let mut begun = Vec::new();
    for one in many.collect::<Vec<_>>() {
        begun.push(one.await.unwrap());
    }
    assert_eq!(begun.iter().filter(|it| **it == Begun::New(first.clone())).count(), 1, "{begun:?}");
    assert_eq!(begun.iter().filter(|it| **it == Begun::Running).count(), 7);
}

pub async fn requests_are_listed_in_their_order(outbox: Store) {
    for (name, began) in [("b", 2), ("a", 2), ("c", 1), ("d", 3)] {
        outbox.begin_request(&request(name, "hash", began), at(began), at(began)).await.unwrap();
    }
    let page = outbox.requests_since(at(2), None, 2).await.unwrap();
    assert_eq!(page, [request("a", "hash", 2), request("b", "hash", 2)]);
    let page = outbox.requests_since(at(2), page.last(), 2).await.unwrap();
    assert_eq!(page, [request("d", "hash", 3)]);
    assert_eq!(outbox.requests_since(at(2), page.last(), 2).await.unwrap(), []);
}
