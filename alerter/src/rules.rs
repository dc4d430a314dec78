//! The rules of some shards: reads them from the store, and again when they change.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use accounts::{ActiveRule, ChangeMark, Shard, ShardProgress, Store, StoreError, UserId};
use alerts::{Boards, Installed, Matcher, RuleId, Steps};
use tracing::{debug, info};

/// How many rules are read at once.
const PAGE: usize = 1_000;

/// Which rules are installed in a matcher.
pub(crate) struct Rules {
    store: Arc<dyn Store>,
    of_users: HashMap<UserId, Vec<RuleId>>,
    marks: HashMap<Shard, ChangeMark>,
    /// The users whose rules have changed and are not read again yet.
    outdated: HashSet<UserId>,
    /// The steps up to which each shard was decided when it was read.
    decided: HashMap<Shard, ShardProgress>,
}

impl Rules {
    /// Reads the shards' rules. Returns them in a matcher.
    pub(crate) async fn load(store: Arc<dyn Store>, shards: &BTreeSet<Shard>) -> Result<(Self, Matcher), StoreError> {
        let mut decided = HashMap::new();
        for shard in shards {
            decided.insert(*shard, store.progress(*shard).await?);
        }
        let common = common_progress(&decided);
        let mut matcher = Matcher::new(common);
        let mut rules =
            Self { store, of_users: HashMap::new(), marks: HashMap::new(), outdated: HashSet::new(), decided };
        for shard in shards {
            // Before the rules, so that no change in between is missed.
            let mark = rules.store.changed_rules(*shard, ChangeMark::default()).await?.mark;
            rules.marks.insert(*shard, mark);
            let mut last = None;
            loop {
                let page = rules.store.active_rules(*shard, last, PAGE).await?;
                let Some(end) = page.last().map(|rule| rule.stored.id) else { break };
                last = Some(end);
                page.iter().for_each(|rule| rules.install(&mut matcher, rule));
            }
        }
        info!(rules = matcher.len(), "the rules are read");
        Ok((rules, matcher))
    }

    fn install(&mut self, matcher: &mut Matcher, rule: &ActiveRule) {
        let ActiveRule { stored, armings } = rule;
        let of_user = self.of_users.entry(stored.user.clone()).or_default();
        if !of_user.contains(&stored.id) {
            of_user.push(stored.id);
        }
        matcher.install(&Installed {
            id: stored.id,
            revision: stored.revision,
            rule: &stored.rule,
            edited_at: stored.edited_at,
            after: self.decided.get(&Shard::of(&stored.user)).map(ShardProgress::steps).unwrap_or_default(),
            armings,
        });
    }

    /// Up to which step each shard was decided before this owner.
    pub(crate) fn decided(&self) -> &HashMap<Shard, ShardProgress> {
        &self.decided
    }

    /// A user's rules have changed.
    pub(crate) fn outdate(&mut self, user: UserId) {
        if self.decided.contains_key(&Shard::of(&user)) {
            self.outdated.insert(user);
        }
    }

    /// Looks up whose rules have changed since the last time.
    pub(crate) async fn look_up_changes(&mut self) -> Result<(), StoreError> {
        for (shard, mark) in &mut self.marks {
            let changed = self.store.changed_rules(*shard, *mark).await?;
            *mark = changed.mark;
            self.outdated.extend(changed.users);
        }
        Ok(())
    }

    /// Reads the changed rules again. Those that can't be read are read the next time.
    pub(crate) async fn reload_outdated(
        &mut self,
        matcher: &mut Matcher,
        boards: &Boards<'_>,
    ) -> Result<(), StoreError> {
        while let Some(user) = self.outdated.iter().next().cloned() {
            self.reload_user(&user, matcher, boards).await?;
            self.outdated.remove(&user);
        }
        Ok(())
    }

    async fn reload_user(
        &mut self,
        user: &UserId,
        matcher: &mut Matcher,
        boards: &Boards<'_>,
    ) -> Result<(), StoreError> {
        let active = self.store.active_rules_of(user).await?;
        let is_active = |id: &RuleId| active.iter().any(|rule| rule.stored.id == *id);
        for id in self.of_users.remove(user).unwrap_or_default() {
            if !is_active(&id) {
                matcher.remove(id);
            }
        }
        for rule in &active {
            match matcher.revision_of(rule.stored.id) {
                // Where it stands is known better here.
                Some(revision) if revision >= rule.stored.revision => {
                    self.of_users.entry(user.clone()).or_default().push(rule.stored.id);
                }
                _ => self.install(matcher, rule),
            }
        }
        matcher.prime(boards);
        debug!(%user, rules = active.len(), "a user's rules are read again");
        Ok(())
    }

    /// Reads a rule again of which a decision was not accepted.
    pub(crate) async fn reload(
        &mut self,
        id: RuleId,
        matcher: &mut Matcher,
        boards: &Boards<'_>,
    ) -> Result<(), StoreError> {
        let active = self.store.active_rule(id).await?;
        matcher.remove(id);
        if let Some(active) = active.filter(|it| self.decided.contains_key(&Shard::of(&it.stored.user))) {
            self.install(matcher, &active);
            matcher.prime(boards);
        }
        Ok(())
    }

    /// Another alerter evaluates these shards now.
    pub(crate) fn drop_shards(&mut self, shards: &[Shard], matcher: &mut Matcher) {
        for shard in shards {
            self.marks.remove(shard);
            self.decided.remove(shard);
        }
        let is_lost = |user: &UserId| shards.contains(&Shard::of(user));
        self.outdated.retain(|user| !is_lost(user));
        for (_, ids) in self.of_users.extract_if(|user, _| is_lost(user)) {
            for id in ids {
                matcher.remove(id);
            }
        }
    }

    pub(crate) fn shards(&self) -> Vec<Shard> {
        self.decided.keys().copied().collect()
    }
}

/// The steps that all shards have decided: each is decided from there on, and those that were ahead decide nothing
/// twice.
fn common_progress(decided: &HashMap<Shard, ShardProgress>) -> Steps {
    let step = |region| {
        let steps = decided.values().map(|progress| progress.get(region).map(|step| step.position));
        let earliest = steps.reduce(|a, b| a.zip(b).map(|(a, b)| a.min(b))).flatten();
        earliest.map(|step| (region, step))
    };
    odds::Region::ALL.into_iter().filter_map(step).collect()
}
