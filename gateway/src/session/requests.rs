//! Processes each client's requests one at a time, in the order in which they came.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use accounts::{AccountsError, Changed, StoreError, User};
use odds::{Cursor, Filter, Region, Replay, Subscriptions, read_regions};
use serde::Serialize;
use serde_json::{Value, json};
use tracing::{debug, warn};

use super::app_state::AppState;
use crate::{
    client::{Answer, Bye, Client, ClientRequest, RETRY_AFTER_MS, Subscription},
    filters::TooManyFilters,
    region::Request,
    replay::ReplayHandle,
    turns::Turn,
};

/// How many requests of a client may be pending.
pub(super) const MAX_REQUESTS: usize = 64;

/// The answer to a request that failed.
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    code: &'static str,
    message: String,
}

/// Sends the event `subscriptions`, with the account's revision unless the client chose its own regions.
fn send_regions(client: &Client, subscription: &Subscription) {
    let revision = (!subscription.own).then(|| client.revision.load(Ordering::Acquire));
    client.send_in_order("subscriptions", &Subscriptions::new(revision, &subscription.regions));
}

impl From<AccountsError> for Failure {
    fn from(error: AccountsError) -> Self {
        let code = match &error {
            AccountsError::TooManyAttempts { .. } => "too_many_requests",
            AccountsError::Store(_) => "store_unavailable",
            _ => "unauthenticated",
        };
        Self { code, message: error.to_string() }
    }
}

impl AppState {
    /// Replaces the client's regions and sends it the new ones.
    pub(super) async fn set_regions(
        &self,
        client: &Arc<Client>,
        subscription: &mut Subscription,
        regions: BTreeSet<Region>,
    ) {
        let before = std::mem::replace(&mut subscription.regions, regions);
        self.leave(client, subscription, before.difference(&subscription.regions)).await;
        send_regions(client, subscription);
        let new = subscription.regions.difference(&before).map(|region| (*region, None));
        self.join(client, subscription, new.collect()).await;
    }

    /// Makes the client follow these regions, each from its cursor.
    async fn join(&self, client: &Arc<Client>, subscription: &Subscription, regions: Vec<(Region, Option<Cursor>)>) {
        if let Some(replay) = &subscription.replay {
            return replay.join(regions, subscription.filter.shared()).await;
        }
        for (region, from) in regions {
            let (client, filter) = (client.clone(), subscription.filter.shared());
            self.region(region).ask(Request::Join { client, filter, from }).await;
        }
    }

    /// Returns when no more frames of these regions are sent.
    async fn leave(&self, client: &Client, subscription: &Subscription, regions: impl IntoIterator<Item = &Region>) {
        if let Some(replay) = &subscription.replay {
            return replay.leave(regions.into_iter().copied().collect()).await;
        }
        for region in regions {
            self.region(*region).leave(client.sid()).await;
        }
    }

    /// Queues a request, and starts a task that processes the queue if none is running. Disconnects a client that has
    /// too many requests pending.
    pub(super) fn enqueue(self: &Arc<Self>, client: &Arc<Client>, request: ClientRequest) {
        {
            let mut requests = client.requests.lock().expect("nobody panics while holding it");
            let recheck = matches!(request, ClientRequest::Recheck);
            if recheck && requests.queue.iter().any(|request| matches!(request, ClientRequest::Recheck)) {
                return;
            }
            if requests.closed && !matches!(request, ClientRequest::End) {
                return;
            }
            if requests.queue.len() >= MAX_REQUESTS && !recheck && !matches!(request, ClientRequest::End) {
                drop(requests);
                return self.sends_away(client);
            }
            requests.queue.push_back(request);
            if std::mem::replace(&mut requests.is_processing, true) {
                return;
            }
        }
        tokio::spawn(self.clone().process_requests(client.clone()));
    }

    /// Answers a request if the client asked for an acknowledgement. Disconnects a client that doesn't read its
    /// answers.
    fn answer(&self, client: &Arc<Client>, ack: Answer, done: Result<Value, Failure>) {
        let answer = done.unwrap_or_else(|failure| json!({ "error": failure }));
        if !client.acknowledge(ack, &answer) {
            self.sends_away(client);
        }
    }

    /// Disconnects a client for too many requests, and counts that for its user.
    pub(super) fn sends_away(&self, client: &Arc<Client>) {
        if client.end_for_too_many_requests() {
            // The allowance may be used up already: the user's next connections are refused either way.
            let _ = self.sent_away.take(client.identity.user().clone(), Instant::now());
        }
    }

    /// Processes the client's queue until it is empty.
    pub(super) async fn process_requests(self: Arc<Self>, client: Arc<Client>) {
        let mut subscription = client.subscription.lock().await;
        loop {
            let request = {
                let mut requests = client.requests.lock().expect("nobody panics while holding it");
                let Some(request) = requests.queue.pop_front() else {
                    requests.is_processing = false;
                    // Most clients send no further requests.
                    requests.queue.shrink_to_fit();
                    return;
                };
                request
            };
            if subscription.over {
                continue;
            }
            match request {
                ClientRequest::Begin { own, resume, replay, alerts } => {
                    let user = match self.recheck_identity(&client, &mut subscription).await {
                        Ok(Some(user)) => user,
                        Ok(None) => continue,
                        Err(error) => {
                            warn!(%error, "can't read a client's account: it is disconnected");
                            let retry_after_ms = Some(RETRY_AFTER_MS);
                            let message = "accounts can't be read just now";
                            let bye = Bye { code: "store_unavailable", message, retry_after_ms };
                            self.send_away(&client, &mut subscription, &bye).await;
                            continue;
                        }
                    };
                    client.revision.store(user.revision, Ordering::Release);
                    if self.note_operator(&client, &user) {
                        self.send_status(&client).await;
                    }
                    // Whoever watches the past may choose regions without changing those of the account.
                    subscription.own = own.is_some() || replay.is_some();
                    subscription.regions = own.unwrap_or(user.regions);
                    subscription.replay = replay.and_then(|(replay, turn)| self.replay(replay, &client, turn));
                    send_regions(&client, &subscription);
                    let regions = subscription.regions.iter().map(|region| (*region, resume.get(region).copied()));
                    self.join(&client, &subscription, regions.collect()).await;
                    if let Some(last) = alerts {
                        self.send_alerts_after(&client, &last).await;
                    }
                }
                ClientRequest::Recheck => match self.recheck_identity(&client, &mut subscription).await {
                    Ok(Some(user)) => {
                        self.note_operator(&client, &user);
                        self.follow(&client, &mut subscription, user).await;
                    }
                    Ok(None) => {}
                    // The client keeps its regions; the periodic check finds changes once the store is back.
                    Err(error) => debug!(%error, "can't read a client's account again"),
                },
                ClientRequest::Subscribe { data, ack } => {
                    let done = self.subscribe_request(&client, &mut subscription, &data).await;
                    self.answer(&client, ack, done);
                }
                ClientRequest::Filter { data, ack } => self.filters(&client, &mut subscription, &data, ack).await,
                ClientRequest::Resync { data, ack } => self.resyncs(&client, &subscription, &data, ack).await,
                ClientRequest::Unknown { event, ack } => {
                    let failure = Failure { code: "unknown_event", message: format!("unknown event {event:?}") };
                    self.answer(&client, ack, Err(failure));
                }
                ClientRequest::End => self.leave_all(&client, &mut subscription).await,
            }
        }
    }

    /// Returns the client's user if its session or token is still valid. Otherwise disconnects it and returns `None`.
    pub(super) async fn recheck_identity(
        &self,
        client: &Arc<Client>,
        subscription: &mut Subscription,
    ) -> Result<Option<User>, StoreError> {
        let user = self.accounts.user_of(&client.identity).await?;
        if user.is_none() {
            let bye = Bye { code: "signed_out", message: "the session or token is over", retry_after_ms: None };
            self.send_away(client, subscription, &bye).await;
        }
        Ok(user)
    }

    pub(super) async fn send_away(&self, client: &Arc<Client>, subscription: &mut Subscription, bye: &Bye) {
        subscription.over = true;
        self.leave_all(client, subscription).await;
        client.end(*bye);
    }

    pub(super) async fn leave_all(&self, client: &Client, subscription: &mut Subscription) {
        let regions = std::mem::take(&mut subscription.regions);
        // A replay may be waiting for the client, and ends by itself.
        if subscription.replay.take().is_none() {
            self.leave(client, subscription, &regions).await;
        }
    }

    fn replay(&self, replay: Replay, client: &Arc<Client>, turn: Turn) -> Option<ReplayHandle> {
        let store = self.history.clone()?;
        Some(ReplayHandle::start(replay, client.clone(), store, self.metrics.clone(), turn))
    }

    pub(super) async fn subscribe_request(
        self: &Arc<Self>,
        client: &Arc<Client>,
        subscription: &mut Subscription,
        data: &Value,
    ) -> Result<Value, Failure> {
        let invalid = |reason| Failure { code: "invalid_regions", message: format!("regions: {reason}") };
        let regions = read_regions(&data["regions"]).map_err(invalid)?;
        if subscription.own {
            self.set_regions(client, subscription, regions).await;
        } else {
            // The session or token may have ended without a `control` message yet.
            if self.recheck_identity(client, subscription).await.map_err(AccountsError::from)?.is_none() {
                return Err(AccountsError::Unauthenticated.into());
            }
            let user = self.accounts.set_regions(client.identity.user(), &regions).await?;
            let changed = Changed::from(&user);
            self.follow(client, subscription, user).await;
            self.account_changed(changed);
        }
        Ok(json!({ "ok": true, "regions": subscription.regions }))
    }

    pub(super) async fn filters(
        &self,
        client: &Arc<Client>,
        subscription: &mut Subscription,
        data: &Value,
        ack: Answer,
    ) {
        let invalid = |message| Failure { code: "invalid_filter", message };
        let filter = Filter::from_value(data).map_err(|error| invalid(error.to_string())).and_then(|filter| {
            let too_many = |error: TooManyFilters| Failure { code: "too_many_filters", message: error.to_string() };
            self.filters.hold(client.identity.user(), filter, Some(&subscription.filter)).map_err(too_many)
        });
        subscription.filter = match filter {
            Ok(filter) => Arc::new(filter),
            Err(failure) => return self.answer(client, ack, Err(failure)),
        };
        self.leave(client, subscription, &subscription.regions).await;
        // PROTOCOL.md promises that frames under the new filter follow the answer.
        self.answer(client, ack, Ok(json!({ "ok": true })));
        let regions = subscription.regions.iter().map(|region| (*region, None));
        self.join(client, subscription, regions.collect()).await;
    }

    pub(super) async fn resyncs(&self, client: &Arc<Client>, subscription: &Subscription, data: &Value, ack: Answer) {
        let region: Region = match data["region"].as_str().unwrap_or_default().parse() {
            Ok(region) => region,
            Err(error) => {
                let message = format!("region: {error}");
                return self.answer(client, ack, Err(Failure { code: "invalid_regions", message }));
            }
        };
        if !subscription.regions.contains(&region) {
            let message = format!("{region} is not subscribed");
            return self.answer(client, ack, Err(Failure { code: "not_subscribed", message }));
        }
        // An invalid cursor counts as none: the client gets a snapshot.
        let from = data["cursor"].as_str().and_then(|cursor| cursor.parse().ok());
        self.answer(client, ack, Ok(json!({ "ok": true })));
        if let Some(replay) = &subscription.replay {
            return replay.resync(region, from).await;
        }
        self.region(region).ask(Request::Resync { sid: client.sid(), from }).await;
    }
}
