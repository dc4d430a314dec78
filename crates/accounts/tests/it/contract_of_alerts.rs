//! What every store does with rules and alerts.

use std::time::Duration;

use accounts::{
    Alert, AlertState, ChangeMark, CreateRuleError, DecidedStep, RuleLimits, Shard, ShardProgress, StoredRule,
    Unwatched, User, UserId,
};
use alerts::{Arming, Decision, End, Facts, Firing, FiringId, Rule, RuleId, Steps, Subject};
use odds::{LogPosition, Region, Timestamp};

use crate::contract::{AnyStore, at, make};

const LIMITS: RuleLimits = RuleLimits { per_user: 3, total: 100 };

fn definition(more: &str) -> Rule {
    let json = format!(r#"{{"kind":"price","event":"e1","market":"h2h","outcome":"Leeds","at_least":2.1{more}}}"#);
    Rule::from_json(&serde_json::from_str(&json).unwrap()).unwrap()
}

fn new_rule(user: &User, rule: Rule) -> StoredRule {
    let id = RuleId::new(rand::random());
    StoredRule { id, user: user.id.clone(), revision: 1, rule, created_at: at(1), edited_at: at(1), ended: None }
}

async fn make_rule(store: &AnyStore, user: &User, more: &str) -> StoredRule {
    let rule = new_rule(user, definition(more));
    store.create_rule(&rule, LIMITS).await.unwrap();
    rule
}

fn steps(uk: u64) -> Steps {
    [(Region::Uk, LogPosition { log: "1.0/1".parse().unwrap(), seq: uk })].into_iter().collect()
}

fn progress(uk: u64) -> ShardProgress {
    let step = |(region, position)| (region, DecidedStep { position, at: Some(fired_at(uk)) });
    steps(uk).iter().map(step).collect()
}

fn firing(rule: &StoredRule, episode: u32, uk: u64) -> Firing {
    Firing {
        id: FiringId { rule: rule.id, revision: rule.revision, subject: 0, episode },
        at: fired_at(uk),
        is_late: false,
        is_last: rule.rule.cooldown_minutes.is_none(),
        begins: false,
        level: 2.15,
        steps: steps(uk),
        subject: Subject::default(),
        facts: Facts { kind: "price".into(), outcome: Some("Leeds".into()), ..Facts::default() },
    }
}

/// The time of a step. It is longer after the one before than a cool-down.
fn fired_at(uk: u64) -> Timestamp {
    at(60 * uk as i64)
}

fn fire(rule: &StoredRule, episode: u32, uk: u64) -> Decision {
    Decision::Fire(Box::new(firing(rule, episode, uk)))
}

fn arm(rule: &StoredRule, episode: u32, uk: u64) -> Decision {
    let id = FiringId { rule: rule.id, revision: rule.revision, subject: 0, episode };
    Decision::Arm { id, arming: Arming { episode, fired: false, fired_at: at(1), level: 2.0, steps: steps(uk) } }
}

const AGAIN: &str = r#","cooldown_minutes":1"#;

/// Returns whether each decision was accepted, one by one.
async fn record(store: &AnyStore, rule: &StoredRule, decisions: &[Decision]) -> Vec<bool> {
    let mut accepted = Vec::new();
    for decision in decisions {
        let shard = Shard::of(&rule.user);
        let recorded =
            store.record(&[shard], std::slice::from_ref(decision), &ShardProgress::default(), at(9)).await.unwrap();
        accepted.push(recorded.refused.is_empty());
    }
    accepted
}

async fn alerts(store: &AnyStore, user: &UserId) -> Vec<Alert> {
    store.alerts_of(user, None, 100).await.unwrap()
}

fn ids(alerts: &[Alert]) -> Vec<FiringId> {
    alerts.iter().map(|alert| alert.id).collect()
}

pub async fn a_rule_is_as_it_was_made_and_belongs_to_its_user(store: AnyStore) {
    let [anna, bert] = [make(&store).await, make(&store).await];
    let first = make_rule(&store, &anna, "").await;
    let second = make_rule(&store, &anna, AGAIN).await;
    let mut all = store.rules_of(&anna.id).await.unwrap();
    all.sort_by_key(|rule| rule.id != first.id);
    assert_eq!(all, [first.clone(), second.clone()]);
    assert_eq!(store.rule(&anna.id, first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(store.rule(&bert.id, first.id).await.unwrap(), None);
    assert_eq!(store.edit_rule(&bert.id, first.id, &first.rule, at(2)).await.unwrap(), None);
    assert!(!store.delete_rule(&bert.id, first.id).await.unwrap());
    assert!(store.delete_rule(&anna.id, first.id).await.unwrap());
    assert!(!store.delete_rule(&anna.id, first.id).await.unwrap());
    assert_eq!(store.rules_of(&anna.id).await.unwrap(), [second]);
}

pub async fn the_number_of_rules_is_limited(store: AnyStore) {
    let [anna, bert] = [make(&store).await, make(&store).await];
    for _ in 0..3 {
        make_rule(&store, &anna, "").await;
    }
    let refused = store.create_rule(&new_rule(&anna, definition("")), LIMITS).await;
    assert_eq!(refused, Err(CreateRuleError::TooMany));
    let limits = RuleLimits { total: 3, ..LIMITS };
    let refused = store.create_rule(&new_rule(&bert, definition("")), limits).await;
    assert_eq!(refused, Err(CreateRuleError::TooManyInTotal));
    assert_eq!(store.rules_of(&anna.id).await.unwrap().len(), 3);
    assert_eq!(store.rules_of(&bert.id).await.unwrap(), []);
}

pub async fn an_edited_rule_begins_anew(store: AnyStore) {
    let anna = make(&store).await;
    let rule = make_rule(&store, &anna, "").await;
    assert_eq!(record(&store, &rule, &[fire(&rule, 1, 5)]).await, [true]);
    assert!(store.rule(&anna.id, rule.id).await.unwrap().unwrap().ended.is_some());
    let edited = store.edit_rule(&anna.id, rule.id, &definition(AGAIN), at(7)).await.unwrap().unwrap();
    let expected = StoredRule { revision: 2, rule: definition(AGAIN), edited_at: at(7), ended: None, ..rule.clone() };
    assert_eq!(edited, expected);
    let active = store.active_rules_of(&anna.id).await.unwrap();
    assert_eq!((active.len(), &active[0].stored, active[0].armings.len()), (1, &edited, 0));
    assert_eq!(record(&store, &rule, &[fire(&rule, 2, 8)]).await, [false], "the former revision");
    assert_eq!(record(&store, &edited, &[fire(&edited, 1, 8)]).await, [true]);
    assert_eq!(alerts(&store, &anna.id).await.len(), 2, "each revision has firings of its own");
}

pub async fn nothing_of_a_former_revision_is_recorded_after_an_edit(store: AnyStore) {
    let anna = make(&store).await;
    for round in 0..40 {
        let rule = make_rule(&store, &anna, AGAIN).await;
        let recording = tokio::spawn({
            let (store, decision, shard) = (store.clone(), fire(&rule, 1, 5), Shard::of(&anna.id));
            async move { store.record(&[shard], &[decision], &ShardProgress::default(), at(9)).await.unwrap() }
        });
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..5_000))).await;
        store.edit_rule(&anna.id, rule.id, &definition(AGAIN), at(7)).await.unwrap().unwrap();
        let of_rule = async || {
            let mut ids = ids(&alerts(&store, &anna.id).await);
            ids.retain(|id| id.rule == rule.id);
            ids
        };
        let after_the_edit = of_rule().await;
        let recorded = recording.await.unwrap();
        assert_eq!(after_the_edit, of_rule().await, "round {round}");
        assert_eq!(recorded.refused.is_empty(), after_the_edit.len() == 1, "round {round}");
        assert!(store.delete_rule(&anna.id, rule.id).await.unwrap());
    }
}

pub async fn a_firing_is_recorded_once_and_needs_its_episode(store: AnyStore) {
    let anna = make(&store).await;
    let rule = make_rule(&store, &anna, AGAIN).await;
    let shard = Shard::of(&anna.id);
    assert_eq!(record(&store, &rule, &[fire(&rule, 2, 5)]).await, [false], "the first episode is the first");
    let recorded = store.record(&[shard], &[fire(&rule, 1, 5)], &progress(5), at(9)).await.unwrap();
    assert_eq!((recorded.alerts.len(), recorded.refused.len()), (1, 0));
    let alert = &recorded.alerts[0];
    assert_eq!((&alert.user, alert.state, alert.at), (&anna.id, AlertState::Waiting, fired_at(5)));
    assert_eq!(alert.content.facts.outcome.as_deref(), Some("Leeds"));
    let again = store.record(&[shard], &[fire(&rule, 1, 6)], &progress(6), at(9)).await.unwrap();
    assert_eq!((again.alerts, again.refused), (vec![], vec![rule.id]));
    assert_eq!(alerts(&store, &anna.id).await, recorded.alerts);
    let active = store.active_rules_of(&anna.id).await.unwrap();
    let arming = Arming { episode: 1, fired: true, fired_at: fired_at(5), level: 2.15, steps: steps(5) };
    assert_eq!(active[0].armings, [(0, arming)]);
    assert_eq!(store.active_rule(rule.id).await.unwrap().as_ref(), Some(&active[0]));
    assert_eq!(store.active_rule(RuleId::new(rand::random())).await.unwrap(), None);
}

pub async fn an_episode_begins_only_after_the_steps_of_the_one_before(store: AnyStore) {
    let anna = make(&store).await;
    let rule = make_rule(&store, &anna, AGAIN).await;
    let decisions = [
        (fire(&rule, 1, 5), true),
        (arm(&rule, 2, 5), false),
        (arm(&rule, 3, 6), false),
        (arm(&rule, 2, 6), true),
        (arm(&rule, 2, 7), false),
        (fire(&rule, 2, 5), false),
        (fire(&rule, 2, 7), true),
    ];
    for (decision, accepted) in decisions {
        assert_eq!(record(&store, &rule, std::slice::from_ref(&decision)).await, [accepted], "{decision:?}");
    }
    // In one batch, each follows the one before.
    let batch = [arm(&rule, 3, 8), fire(&rule, 3, 9), arm(&rule, 4, 9), arm(&rule, 4, 10)];
    let recorded = store.record(&[Shard::of(&anna.id)], &batch, &progress(10), at(9)).await.unwrap();
    assert_eq!((recorded.alerts.len(), recorded.refused), (1, vec![rule.id]));
    let active = store.active_rules_of(&anna.id).await.unwrap();
    assert_eq!((active[0].armings[0].1.episode, active[0].armings[0].1.fired), (4, false));
}

pub async fn an_episode_fires_only_after_the_cool_down_of_the_recorded_firing(store: AnyStore) {
    let anna = make(&store).await;
    let rule = make_rule(&store, &anna, AGAIN).await;
    // Another owner believes that the first episode fired long before.
    assert_eq!(record(&store, &rule, &[fire(&rule, 1, 5), arm(&rule, 2, 6)]).await, [true, true]);
    let active = store.active_rules_of(&anna.id).await.unwrap();
    assert_eq!(active[0].armings[0].1.fired_at, fired_at(5));
    let after = |seconds: i64| {
        let at = fired_at(5).plus_millis(1_000 * seconds);
        Decision::Fire(Box::new(Firing { at, ..firing(&rule, 2, 7) }))
    };
    assert_eq!(record(&store, &rule, &[after(59), after(60)]).await, [false, true]);
}

pub async fn a_rule_that_fires_once_ends_with_its_firing(store: AnyStore) {
    let anna = make(&store).await;
    let rule = make_rule(&store, &anna, "").await;
    assert_eq!(record(&store, &rule, &[fire(&rule, 1, 5), arm(&rule, 2, 6)]).await, [true, false]);
    assert_eq!(store.rule(&anna.id, rule.id).await.unwrap().unwrap().ended, Some((End::Fired, at(9))));
    assert_eq!(store.active_rules_of(&anna.id).await.unwrap(), []);
    let over = make_rule(&store, &anna, AGAIN).await;
    let end = Decision::End { rule: over.id, revision: 1, end: End::EventOver };
    assert_eq!(record(&store, &over, &[end]).await, [true]);
    assert_eq!(store.rule(&anna.id, over.id).await.unwrap().unwrap().ended, Some((End::EventOver, at(9))));
}

pub async fn many_owners_record_a_firing_once(store: AnyStore) {
    let anna = make(&store).await;
    let rule = make_rule(&store, &anna, AGAIN).await;
    let crowd = (0..10).map(|owner| {
        let (store, decision, shard) = (store.clone(), fire(&rule, 1, 5 + owner), Shard::of(&anna.id));
        tokio::spawn(
            async move { store.record(&[shard], &[decision], &ShardProgress::default(), at(9)).await.unwrap() },
        )
    });
    let all = futures::future::join_all(crowd).await;
    let fired: usize = all.into_iter().map(|recorded| recorded.unwrap().alerts.len()).sum();
    assert_eq!((fired, alerts(&store, &anna.id).await.len()), (1, 1));
}

pub async fn rules_of_disabled_and_deleted_users_are_not_evaluated(store: AnyStore) {
    let anna = make(&store).await;
    let rule = make_rule(&store, &anna, AGAIN).await;
    let shard = Shard::of(&anna.id);
    store.set_disabled(&anna.id, true).await.unwrap();
    assert_eq!(store.active_rules_of(&anna.id).await.unwrap(), []);
    assert_eq!(store.active_rules(shard, None, 100).await.unwrap(), []);
    assert_eq!(record(&store, &rule, &[fire(&rule, 1, 5)]).await, [false]);
    store.set_disabled(&anna.id, false).await.unwrap();
    assert_eq!(store.active_rules_of(&anna.id).await.unwrap().len(), 1);
    assert_eq!(record(&store, &rule, &[fire(&rule, 1, 5)]).await, [true]);
    store.delete_user(&anna.id).await.unwrap();
    assert_eq!(store.rules_of(&anna.id).await.unwrap(), []);
    assert_eq!(alerts(&store, &anna.id).await, []);
    assert_eq!(record(&store, &rule, &[arm(&rule, 2, 6)]).await, [false]);
}

pub async fn active_rules_come_in_pages(store: AnyStore) {
    let anna = make(&store).await;
    let mut all: Vec<RuleId> = Vec::new();
    for _ in 0..3 {
        all.push(make_rule(&store, &anna, "").await.id);
    }
    all.sort_unstable();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.active_rules(Shard::of(&anna.id), after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.stored.id);
        found.extend(page.into_iter().map(|rule| rule.stored.id));
    }
    assert_eq!(found, all);
}

pub async fn changed_rules_are_found_by_their_users(store: AnyStore) {
    let anna = make(&store).await;
    let shard = Shard::of(&anna.id);
    let before = store.changed_rules(shard, ChangeMark::default()).await.unwrap().mark;
    let has_changed = async || store.changed_rules(shard, before).await.unwrap().users.contains(&anna.id);
    assert!(!has_changed().await);
    let rule = make_rule(&store, &anna, "").await;
    assert!(has_changed().await);
    let mark = store.changed_rules(shard, before).await.unwrap().mark;
    assert_ne!(mark, before);
    store.delete_rule(&anna.id, rule.id).await.unwrap();
    assert!(store.changed_rules(shard, mark).await.unwrap().users.contains(&anna.id));
    store.delete_user(&anna.id).await.unwrap();
    assert!(store.changed_rules(shard, mark).await.unwrap().users.contains(&anna.id), "it can be noticed afterwards");
}

pub async fn alerts_come_in_order_and_are_read(store: AnyStore) {
    let [anna, bert] = [make(&store).await, make(&store).await];
    let rule = make_rule(&store, &anna, AGAIN).await;
    let of_bert = make_rule(&store, &bert, AGAIN).await;
    record(&store, &of_bert, &[fire(&of_bert, 1, 5)]).await;
    for episode in 1..=4 {
        record(&store, &rule, &[fire(&rule, episode, 10 * u64::from(episode))]).await;
        record(&store, &rule, &[arm(&rule, episode + 1, 10 * u64::from(episode) + 5)]).await;
    }
    let all = alerts(&store, &anna.id).await;
    assert_eq!(all.iter().map(|alert| alert.id.episode).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(ids(&store.alerts_of(&anna.id, None, 2).await.unwrap()), ids(&all[2..]), "the newest");
    let after = Some(all[0].id);
    assert_eq!(ids(&store.alerts_of(&anna.id, after, 2).await.unwrap()), ids(&all[1..3]), "the next");
    assert_eq!(store.alerts_of(&anna.id, Some(all[3].id), 2).await.unwrap(), []);
    let of_another = store.alerts_of(&bert.id, None, 5).await.unwrap()[0].id;
    assert_eq!(ids(&store.alerts_of(&anna.id, Some(of_another), 2).await.unwrap()), ids(&all[2..]));

    assert_eq!(store.unread_alerts(&anna.id).await.unwrap(), 4);
    assert_eq!(store.mark_read(&anna.id, Some(&[all[1].id, of_another]), at(50)).await.unwrap(), 1);
    assert_eq!(store.unread_alerts(&anna.id).await.unwrap(), 3);
    assert_eq!(alerts(&store, &anna.id).await[1].read_at, Some(at(50)));
    assert_eq!(store.mark_read(&anna.id, None, at(60)).await.unwrap(), 3);
    assert_eq!(store.mark_read(&anna.id, None, at(70)).await.unwrap(), 0);
    assert_eq!(store.unread_alerts(&bert.id).await.unwrap(), 1);

    let shard = Shard::of(&anna.id);
    let waiting = store.pending_alerts(shard, AlertState::Waiting, 2).await.unwrap();
    assert!(waiting.iter().all(|alert| alert.state == AlertState::Waiting) && waiting.len() == 2);
    store.mark_notified(&ids(&all)).await.unwrap();
    let waiting = store.pending_alerts(shard, AlertState::Waiting, 10).await.unwrap();
    assert!(waiting.iter().all(|alert| alert.user == bert.id));
    assert!(alerts(&store, &anna.id).await.iter().all(|alert| alert.state == AlertState::Notified));
    store.sweep(fired_at(40).plus_millis(accounts::ALERTS_KEPT.as_millis() as i64)).await.unwrap();
    assert_eq!(alerts(&store, &anna.id).await.len(), 1, "old ones are forgotten");
}

pub async fn a_late_alert_is_settled_once(store: AnyStore) {
    let anna = make(&store).await;
    let [one, other] = [make_rule(&store, &anna, AGAIN).await, make_rule(&store, &anna, AGAIN).await];
    let late = |rule: &StoredRule| Decision::Fire(Box::new(Firing { is_late: true, ..firing(rule, 1, 5) }));
    record(&store, &one, &[late(&one), arm(&one, 2, 6), fire(&one, 2, 7)]).await;
    record(&store, &other, &[late(&other)]).await;
    let ids_of = |rule: &StoredRule| firing(rule, 1, 5).id;
    assert_eq!(alerts(&store, &anna.id).await.len(), 1, "late ones are not shown yet");
    assert_eq!(store.unread_alerts(&anna.id).await.unwrap(), 1);
    let pending = store.pending_alerts(Shard::of(&anna.id), AlertState::Late, 10).await.unwrap();
    assert_eq!(ids(&pending), [ids_of(&one), ids_of(&other)]);
    let settled = store.settle_alert(ids_of(&one), false).await.unwrap().unwrap();
    assert_eq!(settled.state, AlertState::Waiting);
    assert_eq!(store.settle_alert(ids_of(&one), true).await.unwrap(), None);
    assert_eq!(store.settle_alert(ids_of(&other), true).await.unwrap().unwrap().state, AlertState::Missed);
    let all = alerts(&store, &anna.id).await;
    assert_eq!(ids(&all)[1..], [ids_of(&one), ids_of(&other)], "they come after what was there already");
    assert_eq!(store.settle_alert(FiringId { episode: 9, ..ids_of(&one) }, true).await.unwrap(), None);
}

pub async fn progress_only_goes_forward(store: AnyStore) {
    let shard = Shard::numbered(3).unwrap();
    assert_eq!(store.progress(shard).await.unwrap(), ShardProgress::default());
    let step = DecidedStep { position: LogPosition { log: "1.0/1".parse().unwrap(), seq: 3 }, at: Some(at(2)) };
    let eu: ShardProgress = [(Region::Eu, step)].into_iter().collect();
    for progress in [progress(7), eu, progress(5)] {
        store.record(&[shard], &[], &progress, at(9)).await.unwrap();
    }
    let mut both = progress(7);
    both.set(Region::Eu, step);
    assert_eq!(store.progress(shard).await.unwrap(), both);
    assert_eq!(store.progress(Shard::numbered(4).unwrap()).await.unwrap(), ShardProgress::default());
}

pub async fn unwatched_times_are_noted_once_for_each_shard(store: AnyStore) {
    let [one, other, third] = [1, 2, 3].map(|number| Shard::numbered(number).unwrap());
    let gap = |region, from, until| Unwatched { region, from: at(from), until: at(until) };
    let [first, second] = [gap(Region::Uk, 10, 20), gap(Region::Eu, 15, 40)];
    // Found again after a crash, or by two owners at a time, of which one has read less.
    for unwatched in [second, first, gap(Region::Uk, 10, 12), gap(Region::Eu, 15, 30), first] {
        store.note_unwatched(&[one, other], &unwatched).await.unwrap();
    }
    assert_eq!(store.unwatched(one, at(0)).await.unwrap(), [first, second]);
    assert_eq!(store.unwatched(other, at(20)).await.unwrap(), [second]);
    assert_eq!(store.unwatched(third, at(0)).await.unwrap(), []);
    store.sweep(at(30).plus_millis(accounts::ALERTS_KEPT.as_millis() as i64)).await.unwrap();
    assert_eq!(store.unwatched(one, at(0)).await.unwrap(), [second], "old ones are forgotten");
    for minute in 1..=120 {
        store.note_unwatched(&[third], &gap(Region::Uk, 60 * minute, 60 * minute + 1)).await.unwrap();
    }
    let newest = store.unwatched(third, at(0)).await.unwrap();
    assert_eq!((newest.len(), newest[0].from, newest[99].from), (100, at(60 * 21), at(60 * 120)), "the newest");
}
