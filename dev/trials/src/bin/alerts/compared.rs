//! Compares what alerters recorded and published with all crossings.

use std::collections::{BTreeMap, BTreeSet};

use accounts::{Alert, AlertState};
use alerts::{FiringId, RuleId};
use anyhow::{Context, ensure};
use odds::Timestamp;
use serde_json::Value;

use crate::{
    accounts_of_trial::Users,
    crossings::{Crossing, Subject},
};

/// The shortest time between two firings of a rule, by its cool-down.
const COOLDOWN_MS: i64 = 60_000;
/// How many differences are shown.
const SHOWN: usize = 20;

/// What was on the topic `alerts`: each id with how often it came, and what came.
#[derive(Debug, Default)]
pub struct Published {
    ids: BTreeMap<FiringId, (u32, BTreeSet<String>)>,
}

impl Published {
    pub fn note(&mut self, alert: &str) -> anyhow::Result<()> {
        let value: Value = serde_json::from_str(alert)?;
        let id = value["id"].as_str().context("an alert without an id")?.parse()?;
        let (count, texts) = self.ids.entry(id).or_default();
        *count += 1;
        texts.insert(alert.to_owned());
        Ok(())
    }
}

type Episode = (RuleId, Subject, u32);

fn episode_of(alert: &Alert) -> Option<Episode> {
    let facts = &alert.content.facts;
    let outcome = facts.outcome.clone().map(|name| (name, facts.point, facts.description.clone()));
    Some((alert.id.rule, (facts.event.clone()?, outcome), alert.id.episode))
}

/// Fails if anything differs.
pub async fn compare(
    users: &Users,
    crossings: Vec<Crossing>,
    several: &[RuleId],
    published: &Published,
) -> anyhow::Result<()> {
    let mut alerts = Vec::new();
    for user in &users.ids {
        alerts.extend(users.store.alerts_of(user, None, 1_000_000).await?);
    }
    let mut wrong = Vec::new();
    let (over_several, over_one): (Vec<_>, Vec<_>) = alerts.iter().partition(|alert| several.contains(&alert.id.rule));
    let missed = |alerts: &[&Alert]| alerts.iter().filter(|alert| alert.state == AlertState::Missed).count();
    println!(
        "rules over one region: {} crossings, {} ids, of which {} are listed as missed",
        crossings.len(),
        over_one.len(),
        missed(&over_one)
    );
    println!(
        "rules over two regions: {} ids, of which {} are listed as missed",
        over_several.len(),
        missed(&over_several)
    );
    each_crossing_has_one_id(crossings, &over_one, &mut wrong)?;
    no_episode_comes_twice(&over_several, &mut wrong)?;
    each_notified_id_is_on_the_topic(&alerts, published, &mut wrong);
    let again = published.ids.values().filter(|(count, _)| *count > 1).count();
    println!("{} ids on the topic, {again} of them more than once", published.ids.len());
    for text in wrong.iter().take(SHOWN) {
        println!("wrong: {text}");
    }
    ensure!(wrong.is_empty(), "{} differences", wrong.len());
    ensure!(!over_one.is_empty() && !over_several.is_empty(), "nothing fired");
    Ok(())
}

fn each_crossing_has_one_id(
    crossings: Vec<Crossing>,
    alerts: &[&Alert],
    wrong: &mut Vec<String>,
) -> anyhow::Result<()> {
    let mut found: BTreeMap<Episode, Vec<&Alert>> = BTreeMap::new();
    for alert in alerts {
        found.entry(episode_of(alert).context("an alert without an event")?).or_default().push(alert);
    }
    for crossing in crossings {
        let Crossing { rule, subject, episode, at, value } = crossing;
        let shown = || format!("rule {rule}, {subject:?}, episode {episode} at {at} with {value}");
        match found.remove(&(rule, subject.clone(), episode)).as_deref() {
            None => wrong.push(format!("no id: {}", shown())),
            Some([alert]) => {
                if alert.at != at {
                    wrong.push(format!("{} has the time {}: {}", alert.id, alert.at, shown()));
                }
                let price = alert.content.facts.price.map(odds::Decimal::to_f64);
                if price.is_some_and(|price| price != value) {
                    wrong.push(format!("{} has the price {price:?}: {}", alert.id, shown()));
                }
            }
            Some(alerts) => wrong.push(format!("{} ids: {}", alerts.len(), shown())),
        }
    }
    for alert in found.into_values().flatten() {
        wrong
            .push(format!("{} is no crossing: {:?} at {}, {:?}", alert.id, alert.state, alert.at, alert.content.facts));
    }
    Ok(())
}

/// Their steps were read in some order, so only what does not depend on it is checked: the episodes of a rule follow
/// each other.
fn no_episode_comes_twice(alerts: &[&Alert], wrong: &mut Vec<String>) -> anyhow::Result<()> {
    let mut of_subjects: BTreeMap<(RuleId, Subject), BTreeMap<u32, Vec<Timestamp>>> = BTreeMap::new();
    for alert in alerts {
        let (rule, subject, episode) = episode_of(alert).context("an alert without an event")?;
        of_subjects.entry((rule, subject)).or_default().entry(episode).or_default().push(alert.at);
    }
    for ((rule, subject), episodes) in of_subjects {
        let mut last: Option<Timestamp> = None;
        for (expected, (episode, times)) in (1..).zip(&episodes) {
            let is_next = *episode == expected && times.len() == 1;
            let is_later = last.is_none_or(|last| times[0].millis_since(last) >= COOLDOWN_MS);
            if !is_next || !is_later {
                wrong.push(format!("rule {rule} over two regions, {subject:?}: {episodes:?}"));
                break;
            }
            last = Some(times[0]);
        }
    }
    Ok(())
}

fn each_notified_id_is_on_the_topic(alerts: &[Alert], published: &Published, wrong: &mut Vec<String>) {
    let mut known = BTreeSet::new();
    for alert in alerts {
        known.insert(alert.id);
        match (alert.state, published.ids.get(&alert.id)) {
            (AlertState::Notified, Some((_, texts))) if texts.len() == 1 => {}
            (AlertState::Missed, None) => {}
            (state, published) => wrong.push(format!("{} is {state:?}, on the topic: {published:?}", alert.id)),
        }
    }
    for id in published.ids.keys().filter(|id| !known.contains(id)) {
        wrong.push(format!("{id} is on the topic and not in the store"));
    }
}
