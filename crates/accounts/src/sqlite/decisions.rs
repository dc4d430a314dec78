//! Records what an alerter decided: all of it or nothing, in one transaction.

use ::alerts::{Arming, Decision, End, Firing, FiringId, RuleId};
use odds::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{alerts, millis};
use crate::alerts::{Alert, Recorded, Shard, ShardProgress, StoredRule};

pub(super) fn progress_of(connection: &Connection, shard: Shard) -> rusqlite::Result<ShardProgress> {
    let mut select = connection.prepare_cached("SELECT steps FROM alerter_progress WHERE shard = ?1")?;
    let text: Option<String> = select.query_row([shard.number()], |row| row.get(0)).optional()?;
    let progress = text.map(|text| serde_json::from_str(&text).map_err(alerts::unreadable)).transpose()?;
    Ok(progress.unwrap_or_default())
}

pub(super) fn record(
    connection: &Transaction<'_>,
    shards: &[Shard],
    decisions: &[Decision],
    progress: &ShardProgress,
    now: Timestamp,
) -> rusqlite::Result<Recorded> {
    let mut recorded = Recorded::default();
    for decision in decisions {
        let is_accepted = match active_rule(connection, decision)? {
            None => false,
            Some(rule) => match decision {
                Decision::Fire(firing) => fire(connection, firing, &rule, now, &mut recorded.alerts)?,
                Decision::Arm { id, arming } => arm(connection, *id, arming)?,
                Decision::End { end, .. } => {
                    end_rule(connection, rule.id, *end, now)?;
                    true
                }
            },
        };
        if !is_accepted && !recorded.refused.contains(&decision.rule()) {
            recorded.refused.push(decision.rule());
        }
    }
    for shard in shards {
        let progress = progress_of(connection, *shard)?.join(progress);
        let text = serde_json::to_string(&progress).expect("plain values");
        let replace = "INSERT OR REPLACE INTO alerter_progress (shard, steps) VALUES (?1, ?2)";
        connection.prepare_cached(replace)?.execute(params![shard.number(), text])?;
    }
    Ok(recorded)
}

/// The rule that the decision is about, unless it was edited, has ended or its user is disabled.
fn active_rule(connection: &Connection, decision: &Decision) -> rusqlite::Result<Option<StoredRule>> {
    let select = format!("SELECT * FROM rules WHERE id = ?1 AND revision = ?2 AND {}", alerts::ACTIVE);
    let values = params![decision.rule().to_string(), decision.revision()];
    connection.prepare_cached(&select)?.query_row(values, alerts::rule).optional()
}

fn fire(
    connection: &Connection,
    firing: &Firing,
    rule: &StoredRule,
    now: Timestamp,
    alerts: &mut Vec<Alert>,
) -> rusqlite::Result<bool> {
    let recorded = alerts::arming_of(connection, firing.id)?;
    if !Arming::permits_firing(recorded.as_ref(), firing, &rule.rule) {
        return Ok(false);
    }
    write_arming(connection, firing.id, &Arming::after_firing(recorded.as_ref(), firing))?;
    let alert = Alert::of(firing, rule);
    let insert = "
        INSERT INTO alerts (id, user, shard, state, at, content) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT (id) DO NOTHING";
    let inserted = connection.prepare_cached(insert)?.execute(params![
        alert.id.to_string(),
        alert.user.as_str(),
        Shard::of(&alert.user).number(),
        alert.state.key(),
        millis(alert.at),
        alert.content.to_text(),
    ])?;
    if inserted == 1 {
        alerts.push(alert);
    }
    if firing.is_last {
        end_rule(connection, rule.id, End::Fired, now)?;
    }
    Ok(true)
}

fn arm(connection: &Connection, id: FiringId, arming: &Arming) -> rusqlite::Result<bool> {
    let recorded = alerts::arming_of(connection, id)?;
    let is_permitted = Arming::permits_arming(recorded.as_ref(), arming);
    if is_permitted {
        write_arming(connection, id, &Arming::after_arming(recorded.as_ref(), arming))?;
    }
    Ok(is_permitted)
}

fn write_arming(connection: &Connection, id: FiringId, arming: &Arming) -> rusqlite::Result<()> {
    let replace = "
        INSERT OR REPLACE INTO armings (rule, subject, episode, fired, fired_at, level, steps)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let values = params![
        id.rule.to_string(),
        id.subject.cast_signed(),
        arming.episode,
        arming.fired,
        millis(arming.fired_at),
        arming.level,
        alerts::steps_text(&arming.steps),
    ];
    connection.prepare_cached(replace)?.execute(values).map(drop)
}

fn end_rule(connection: &Connection, id: RuleId, end: End, now: Timestamp) -> rusqlite::Result<()> {
    let update = "UPDATE rules SET ended = ?2, ended_at = ?3 WHERE id = ?1";
    connection.prepare_cached(update)?.execute(params![id.to_string(), end.key(), millis(now)]).map(drop)
}
