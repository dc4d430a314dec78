//! Rules and alerts in the SQLite file.

use ::alerts::{Arming, Decision, End, FiringId, Rule, RuleId, Steps};
use async_trait::async_trait;
use odds::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params, types::Type};

use super::{SqliteStore, breaks_a_constraint, decisions, millis};
use crate::{
    alerts::{
        ActiveRule, Alert, AlertState, AlertStore, ChangeMark, ChangedRules, CreateRuleError, MOST_UNWATCHED, Recorded,
        RuleLimits, Shard, ShardProgress, StoredRule, Unwatched,
    },
    store::StoreError,
    user::UserId,
};

/// Added by version 4 of the schema.
pub(super) const SCHEMA: &str = "
    CREATE TABLE rules (
        id TEXT PRIMARY KEY,
        user TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        shard INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        definition TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        edited_at INTEGER NOT NULL,
        ended TEXT,
        ended_at INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX rules_of ON rules (user);
    CREATE INDEX rules_in ON rules (shard, id);
    CREATE TABLE armings (
        rule TEXT NOT NULL REFERENCES rules (id) ON DELETE CASCADE,
        subject INTEGER NOT NULL,
        episode INTEGER NOT NULL,
        fired INTEGER NOT NULL,
        fired_at INTEGER NOT NULL,
        level REAL NOT NULL,
        steps TEXT NOT NULL,
        PRIMARY KEY (rule, subject)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE alerts (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        user TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        shard INTEGER NOT NULL,
        state TEXT NOT NULL,
        at INTEGER NOT NULL,
        read_at INTEGER,
        content TEXT NOT NULL
    ) STRICT;
    CREATE INDEX alerts_of ON alerts (user, number);
    CREATE INDEX alerts_pending ON alerts (shard, number) WHERE state IN ('late', 'waiting');
    CREATE INDEX alerts_by_time ON alerts (at);
    CREATE TABLE rule_changes (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        user TEXT NOT NULL UNIQUE,
        shard INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX rule_changes_in ON rule_changes (shard, number);
    CREATE TABLE alerter_progress (shard INTEGER PRIMARY KEY, steps TEXT NOT NULL) STRICT;
";

/// Added by version 5 of the schema.
pub(super) const UNWATCHED: &str = "
    CREATE TABLE unwatched (
        shard INTEGER NOT NULL,
        region TEXT NOT NULL,
        since INTEGER NOT NULL,
        until INTEGER NOT NULL,
        PRIMARY KEY (shard, region, since)
    ) STRICT, WITHOUT ROWID;
";

pub(super) fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into())
}

/// Notes that a user's rules changed, for alerters that look for changes.
pub(super) fn note_change(connection: &Connection, user: &UserId) -> rusqlite::Result<()> {
    let replace = "INSERT OR REPLACE INTO rule_changes (user, shard) VALUES (?1, ?2)";
    connection.prepare_cached(replace)?.execute(params![user.as_str(), Shard::of(user).number()]).map(drop)
}

fn definition(text: &str) -> rusqlite::Result<Rule> {
    let value = serde_json::from_str(text).map_err(unreadable)?;
    Rule::from_json(&value).map_err(unreadable)
}

pub(super) fn rule(row: &Row<'_>) -> rusqlite::Result<StoredRule> {
    let end: Option<String> = row.get("ended")?;
    let ended_at: Option<i64> = row.get("ended_at")?;
    let end = end.map(|key| End::of_key(&key).ok_or_else(|| unreadable("an unknown end"))).transpose()?;
    Ok(StoredRule {
        id: row.get::<_, String>("id")?.parse().map_err(unreadable)?,
        user: UserId::named(&row.get::<_, String>("user")?),
        revision: row.get("revision")?,
        rule: definition(&row.get::<_, String>("definition")?)?,
        created_at: Timestamp::from_millis(row.get("created_at")?),
        edited_at: Timestamp::from_millis(row.get("edited_at")?),
        ended: end.zip(ended_at.map(Timestamp::from_millis)),
    })
}

pub(super) fn steps(text: &str) -> rusqlite::Result<Steps> {
    serde_json::from_str(text).map_err(unreadable)
}

pub(super) fn steps_text(steps: &Steps) -> String {
    serde_json::to_string(steps).expect("plain values")
}

fn arming(row: &Row<'_>) -> rusqlite::Result<(u64, Arming)> {
    let arming = Arming {
        episode: row.get("episode")?,
        fired: row.get("fired")?,
        fired_at: Timestamp::from_millis(row.get("fired_at")?),
        level: row.get("level")?,
        steps: steps(&row.get::<_, String>("steps")?)?,
    };
    Ok((row.get::<_, i64>("subject")?.cast_unsigned(), arming))
}

pub(super) fn armings_of(connection: &Connection, id: RuleId) -> rusqlite::Result<Vec<(u64, Arming)>> {
    let mut select = connection.prepare_cached("SELECT * FROM armings WHERE rule = ?1")?;
    select.query_map([id.to_string()], arming)?.collect()
}

pub(super) fn arming_of(connection: &Connection, id: FiringId) -> rusqlite::Result<Option<Arming>> {
    let mut select = connection.prepare_cached("SELECT * FROM armings WHERE rule = ?1 AND subject = ?2")?;
    let found = select.query_row(params![id.rule.to_string(), id.subject.cast_signed()], arming).optional()?;
    Ok(found.map(|(_, arming)| arming))
}

fn alert(row: &Row<'_>) -> rusqlite::Result<Alert> {
    let state: String = row.get("state")?;
    Ok(Alert {
        id: row.get::<_, String>("id")?.parse().map_err(unreadable)?,
        user: UserId::named(&row.get::<_, String>("user")?),
        state: AlertState::of_key(&state).ok_or_else(|| unreadable("an unknown state"))?,
        at: Timestamp::from_millis(row.get("at")?),
        read_at: row.get::<_, Option<i64>>("read_at")?.map(Timestamp::from_millis),
        content: serde_json::from_str(&row.get::<_, String>("content")?).map_err(unreadable)?,
    })
}

fn unwatched(row: &Row<'_>) -> rusqlite::Result<Unwatched> {
    Ok(Unwatched {
        region: row.get::<_, String>("region")?.parse().map_err(|error: odds::UnknownRegion| unreadable(error))?,
        from: Timestamp::from_millis(row.get("since")?),
        until: Timestamp::from_millis(row.get("until")?),
    })
}

fn with_armings(connection: &Connection, rules: Vec<StoredRule>) -> rusqlite::Result<Vec<ActiveRule>> {
    let active = |stored: StoredRule| Ok(ActiveRule { armings: armings_of(connection, stored.id)?, stored });
    rules.into_iter().map(active).collect()
}

/// Has not ended, and its user is not disabled.
pub(super) const ACTIVE: &str = "ended IS NULL AND EXISTS (SELECT 1 FROM users WHERE id = rules.user AND disabled = 0)";

/// Returns which limit is reached, if one is.
fn insert_rule(
    connection: &Transaction<'_>,
    new: &StoredRule,
    limits: RuleLimits,
) -> rusqlite::Result<Option<CreateRuleError>> {
    let count = |what: &str, of: &dyn rusqlite::ToSql| -> rusqlite::Result<usize> {
        let select = format!("SELECT count(*) FROM rules WHERE {what} = ?1");
        connection.query_row(&select, [of], |row| row.get::<_, i64>(0)).map(|count| count as usize)
    };
    if count("user", &new.user.as_str())? >= limits.per_user {
        return Ok(Some(CreateRuleError::TooMany));
    }
    if count("1", &1)? >= limits.total {
        return Ok(Some(CreateRuleError::TooManyInTotal));
    }
    let insert = "
        INSERT INTO rules (id, user, shard, revision, definition, created_at, edited_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    connection.prepare_cached(insert)?.execute(params![
        new.id.to_string(),
        new.user.as_str(),
        Shard::of(&new.user).number(),
        new.revision,
        new.rule.to_json().to_string(),
        millis(new.created_at),
        millis(new.edited_at),
    ])?;
    note_change(connection, &new.user)?;
    Ok(None)
}

#[async_trait]
impl AlertStore for SqliteStore {
    async fn create_rule(&self, rule: &StoredRule, limits: RuleLimits) -> Result<(), CreateRuleError> {
        let rule = rule.clone();
        match self.try_write(move |connection| insert_rule(connection, &rule, limits)).await? {
            Ok(reached) => reached.map_or(Ok(()), Err),
            Err(error) if breaks_a_constraint(&error) => {
                Err(StoreError::new("the user is gone, or the id of the rule is taken").into())
            }
            Err(error) => Err(StoreError::new(error).into()),
        }
    }

    async fn rule(&self, user: &UserId, id: RuleId) -> Result<Option<StoredRule>, StoreError> {
        let user = user.clone();
        self.read(move |connection| {
            let mut select = connection.prepare_cached("SELECT * FROM rules WHERE id = ?1 AND user = ?2")?;
            select.query_row([id.to_string().as_str(), user.as_str()], rule).optional()
        })
        .await
    }

    async fn rules_of(&self, user: &UserId) -> Result<Vec<StoredRule>, StoreError> {
        let user = user.clone();
        self.read(move |connection| {
            let mut select =
                connection.prepare_cached("SELECT * FROM rules WHERE user = ?1 ORDER BY created_at, id")?;
            select.query_map([user.as_str()], rule)?.collect()
        })
        .await
    }

    async fn edit_rule(
        &self,
        user: &UserId,
        id: RuleId,
        new: &Rule,
        at: Timestamp,
    ) -> Result<Option<StoredRule>, StoreError> {
        let (user, text) = (user.clone(), new.to_json().to_string());
        self.write(move |connection| {
            let update = "
                UPDATE rules SET revision = revision + 1, definition = ?3, edited_at = ?4, ended = NULL, ended_at = NULL
                WHERE id = ?1 AND user = ?2 RETURNING *";
            let values = params![id.to_string(), user.as_str(), text, millis(at)];
            let edited = connection.prepare_cached(update)?.query_row(values, rule).optional()?;
            if edited.is_some() {
                connection.execute("DELETE FROM armings WHERE rule = ?1", [id.to_string()])?;
                note_change(connection, &user)?;
            }
            Ok(edited)
        })
        .await
    }

    async fn delete_rule(&self, user: &UserId, id: RuleId) -> Result<bool, StoreError> {
        let user = user.clone();
        self.write(move |connection| {
            let delete = "DELETE FROM rules WHERE id = ?1 AND user = ?2";
            let deleted = connection.execute(delete, [id.to_string().as_str(), user.as_str()])? == 1;
            note_change(connection, &user)?;
            Ok(deleted)
        })
        .await
    }

    async fn active_rules(
        &self,
        shard: Shard,
        after: Option<RuleId>,
        most: usize,
    ) -> Result<Vec<ActiveRule>, StoreError> {
        self.read(move |connection| {
            let select = format!("SELECT * FROM rules WHERE shard = ?1 AND id > ?2 AND {ACTIVE} ORDER BY id LIMIT ?3");
            let after = after.map(|id| id.to_string()).unwrap_or_default();
            let mut select = connection.prepare_cached(&select)?;
            let rules =
                select.query_map(params![shard.number(), after, most as i64], rule)?.collect::<Result<_, _>>()?;
            with_armings(connection, rules)
        })
        .await
    }

    async fn active_rules_of(&self, user: &UserId) -> Result<Vec<ActiveRule>, StoreError> {
        let user = user.clone();
        self.read(move |connection| {
            let select = format!("SELECT * FROM rules WHERE user = ?1 AND {ACTIVE} ORDER BY id");
            let mut select = connection.prepare_cached(&select)?;
            let rules = select.query_map([user.as_str()], rule)?.collect::<Result<_, _>>()?;
            with_armings(connection, rules)
        })
        .await
    }

    async fn active_rule(&self, id: RuleId) -> Result<Option<ActiveRule>, StoreError> {
        self.read(move |connection| {
            let select = format!("SELECT * FROM rules WHERE id = ?1 AND {ACTIVE}");
            let found = connection.prepare_cached(&select)?.query_row([id.to_string()], rule).optional()?;
            Ok(with_armings(connection, found.into_iter().collect())?.pop())
        })
        .await
    }

    async fn changed_rules(&self, shard: Shard, since: ChangeMark) -> Result<ChangedRules, StoreError> {
        self.read(move |connection| {
            let select = "SELECT number, user FROM rule_changes WHERE shard = ?1 AND number > ?2 ORDER BY number";
            let mut select = connection.prepare_cached(select)?;
            let changed = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, UserId::named(&row.get::<_, String>(1)?)));
            let changed: Vec<_> =
                select.query_map(params![shard.number(), since.0], changed)?.collect::<Result<_, _>>()?;
            let mark = changed.last().map_or(since, |(number, _)| ChangeMark(*number));
            Ok(ChangedRules { users: changed.into_iter().map(|(_, user)| user).collect(), mark })
        })
        .await
    }

    async fn progress(&self, shard: Shard) -> Result<ShardProgress, StoreError> {
        self.read(move |connection| decisions::progress_of(connection, shard)).await
    }

    async fn note_unwatched(&self, shards: &[Shard], unwatched: &Unwatched) -> Result<(), StoreError> {
        let (shards, Unwatched { region, from, until }) = (shards.to_vec(), *unwatched);
        self.write(move |connection| {
            let mut insert = connection.prepare_cached(
                "INSERT INTO unwatched (shard, region, since, until) VALUES (?1, ?2, ?3, ?4)
                ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
            )?;
            shards.iter().try_for_each(|shard| {
                insert.execute(params![shard.number(), region.key(), millis(from), millis(until)]).map(drop)
            })
        })
        .await
    }

    async fn unwatched(&self, shard: Shard, since: Timestamp) -> Result<Vec<Unwatched>, StoreError> {
        self.read(move |connection| {
            let select = "
                SELECT * FROM unwatched WHERE shard = ?1 AND until > ?2 ORDER BY since DESC, region DESC LIMIT ?3";
            let values = params![shard.number(), millis(since), MOST_UNWATCHED as i64];
            let mut found: Vec<Unwatched> =
                connection.prepare_cached(select)?.query_map(values, unwatched)?.collect::<Result<_, _>>()?;
            found.reverse();
            Ok(found)
        })
        .await
    }

    async fn record(
        &self,
        shards: &[Shard],
        decisions: &[Decision],
        progress: &ShardProgress,
        now: Timestamp,
    ) -> Result<Recorded, StoreError> {
        let (shards, decisions, progress) = (shards.to_vec(), decisions.to_vec(), progress.clone());
        self.write(move |connection| decisions::record(connection, &shards, &decisions, &progress, now)).await
    }

    async fn pending_alerts(&self, shard: Shard, state: AlertState, most: usize) -> Result<Vec<Alert>, StoreError> {
        self.read(move |connection| {
            // The first condition selects the index.
            let select = "
                SELECT * FROM alerts WHERE state IN ('late', 'waiting') AND shard = ?1 AND state = ?2
                ORDER BY number LIMIT ?3";
            let values = params![shard.number(), state.key(), most as i64];
            connection.prepare_cached(select)?.query_map(values, alert)?.collect()
        })
        .await
    }

    async fn settle_alert(&self, id: FiringId, is_missed: bool) -> Result<Option<Alert>, StoreError> {
        let state = if is_missed { AlertState::Missed } else { AlertState::Waiting };
        self.write(move |connection| {
            // It becomes the newest, so that clients that ask for what is new get it.
            let update = "
                UPDATE alerts SET state = ?2, number = (SELECT max(number) + 1 FROM alerts)
                WHERE id = ?1 AND state = 'late' RETURNING *";
            connection.prepare_cached(update)?.query_row([id.to_string().as_str(), state.key()], alert).optional()
        })
        .await
    }

    async fn mark_notified(&self, ids: &[FiringId]) -> Result<(), StoreError> {
        let ids = ids.to_vec();
        self.write(move |connection| {
            let update = "UPDATE alerts SET state = 'notified' WHERE id = ?1 AND state = 'waiting'";
            let mut update = connection.prepare_cached(update)?;
            ids.iter().try_for_each(|id| update.execute([id.to_string()]).map(drop))
        })
        .await
    }

    async fn alerts_of(&self, user: &UserId, after: Option<FiringId>, most: usize) -> Result<Vec<Alert>, StoreError> {
        let user = user.clone();
        self.read(move |connection| {
            let number = |id: FiringId| -> rusqlite::Result<Option<i64>> {
                let mut select = connection.prepare_cached("SELECT number FROM alerts WHERE id = ?1 AND user = ?2")?;
                select.query_row([id.to_string().as_str(), user.as_str()], |row| row.get(0)).optional()
            };
            let after = after.map(number).transpose()?.flatten();
            let order = if after.is_some() { "ASC" } else { "DESC" };
            let select = format!(
                "SELECT * FROM alerts WHERE user = ?1 AND number > ?2 AND state <> 'late'
                 ORDER BY number {order} LIMIT ?3"
            );
            let values = params![user.as_str(), after.unwrap_or(0), most as i64];
            let mut alerts: Vec<Alert> =
                connection.prepare_cached(&select)?.query_map(values, alert)?.collect::<Result<_, _>>()?;
            if after.is_none() {
                alerts.reverse();
            }
            Ok(alerts)
        })
        .await
    }

    async fn unread_alerts(&self, user: &UserId) -> Result<u64, StoreError> {
        let user = user.clone();
        self.read(move |connection| {
            let select = "SELECT count(*) FROM alerts WHERE user = ?1 AND read_at IS NULL AND state <> 'late'";
            let count = |row: &Row<'_>| row.get::<_, i64>(0);
            connection.prepare_cached(select)?.query_row([user.as_str()], count).map(i64::cast_unsigned)
        })
        .await
    }

    async fn mark_read(&self, user: &UserId, ids: Option<&[FiringId]>, at: Timestamp) -> Result<u64, StoreError> {
        let (user, ids) = (user.clone(), ids.map(<[FiringId]>::to_vec));
        self.write(move |connection| {
            let update = "UPDATE alerts SET read_at = ?2 WHERE user = ?1 AND read_at IS NULL AND state <> 'late'";
            let marked = match ids {
                None => connection.execute(update, params![user.as_str(), millis(at)])?,
                Some(ids) => {
                    let mut update = connection.prepare_cached(&format!("{update} AND id = ?3"))?;
                    let mark = |id: FiringId| update.execute(params![user.as_str(), millis(at), id.to_string()]);
                    ids.into_iter().map(mark).sum::<rusqlite::Result<usize>>()?
                }
            };
            Ok(marked as u64)
        })
        .await
    }
}
