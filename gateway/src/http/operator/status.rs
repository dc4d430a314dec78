//! What there is to see.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use accounts::UserId;
use axum::{Json, extract::State};
use fleet::{CreditHistory, Lag, LoggedTrouble, Problem, ProgramState, Severity, Sports};
use futures::future::join_all;
use odds::{FeedState, Region, Timestamp};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::access::Operator;
use crate::{
    http::{error::Refusals, schemas, subscriptions::RegionKey},
    operator::ProgramNow,
    session::AppState,
};

/// How long it may take to look up names.
const NAMED_WITHIN: Duration = Duration::from_millis(500);

#[derive(Serialize, ToSchema)]
pub(crate) struct Status {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Whether nothing is wrong that users notice.
    is_well: bool,
    /// Whether anybody may register.
    registration_is_open: bool,
    regions: Vec<RegionStatus>,
    /// The most important first.
    #[schema(value_type = Vec<ProblemStatus>)]
    problems: Vec<Problem>,
    programs: Vec<ProgramStatus>,
    /// Null while no broker answers.
    kafka: Option<KafkaStatus>,
}

#[derive(Serialize, ToSchema)]
struct RegionStatus {
    #[schema(value_type = RegionKey)]
    region: Region,
    #[schema(schema_with = schemas::feed_state)]
    state: FeedState,
    /// `live`, or what is wrong.
    verdict: String,
    /// Since when it is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    what_to_do: Option<&'static str>,
    /// What the key of its producers has left.
    #[serde(skip_serializing_if = "Option::is_none")]
    credits: Option<CreditStatus>,
}

#[derive(Serialize, ToSchema)]
struct CreditStatus {
    left: f64,
    /// When none are left, if they go on to be used as in the last hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    run_out_at: Option<Timestamp>,
    /// How many were left, at times in milliseconds since 1970: of at most a day, since they were renewed.
    history: Vec<(i64, f64)>,
}

impl CreditStatus {
    fn of(region: Region, history: &CreditHistory) -> Option<Self> {
        let samples = history.of(region);
        let (_, left) = *samples.last()?;
        let run_out_at = history.run_out_at(region);
        Some(Self { left, run_out_at, history: samples.iter().map(|(at, left)| (at.as_millis(), *left)).collect() })
    }
}

/// Something that is wrong.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes a problem")]
struct ProblemStatus {
    /// Its name in the documentation.
    name: String,
    /// `page` if users miss something now, else `warning`.
    severity: String,
    /// A region, a channel, a program, a broker or a topic. Empty if it concerns all.
    about: String,
    text: String,
    #[schema(format = DateTime)]
    since: String,
    what_to_do: String,
}

#[derive(Serialize, ToSchema)]
struct ProgramStatus {
    role: String,
    instance: String,
    version: String,
    /// `running`; `silent` if it has reported nothing for longer than it should, for an hour; or `failed`.
    state: &'static str,
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// When it last reported.
    #[schema(value_type = String, format = DateTime)]
    reported_at: Timestamp,
    /// How much memory it uses, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<u64>,
    /// Its most important metrics: those of a region, channel or outcome have it in braces after their name.
    values: BTreeMap<String, f64>,
    /// How much values that only grow have grown a second, in the last minute.
    per_second: BTreeMap<String, f64>,
    /// Where it is behind.
    lags: Vec<LagStatus>,
    /// The sports that it polls, by region: how often, and how long ago the last time was, in seconds.
    #[schema(value_type = BTreeMap<String, BTreeMap<String, Vec<Option<f64>>>>)]
    sports: Sports,
    /// A gateway's clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    clients: Option<ClientsStatus>,
    #[schema(value_type = Vec<schemas::LoggedTrouble>)]
    troubles: Vec<LoggedTrouble>,
}

#[derive(Serialize, ToSchema)]
struct LagStatus {
    /// The metric with the region or channel.
    of: String,
    records: f64,
    /// Since when it has not been at the end.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// How much it grows a second, in the last minute.
    grows: f64,
}

impl From<Lag> for LagStatus {
    fn from(Lag { of, records, since, grows }: Lag) -> Self {
        Self { of, records, since, grows: rounded(grows) }
    }
}

#[derive(Serialize, ToSchema)]
struct ClientsStatus {
    /// How many users are connected.
    users: u64,
    /// Those with the most connections.
    most: Vec<OnlineUser>,
    /// Those that have not taken what they were sent for the longest time.
    slow: Vec<SlowStatus>,
}

#[derive(Serialize, ToSchema)]
struct OnlineUser {
    name: String,
    connections: u64,
}

#[derive(Serialize, ToSchema)]
struct SlowStatus {
    /// Its socket.
    id: String,
    /// Its user's name.
    name: String,
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
}

#[derive(Serialize, ToSchema)]
struct KafkaStatus {
    brokers: Vec<BrokerStatus>,
    topics: Vec<TopicStatus>,
}

#[derive(Serialize, ToSchema)]
struct BrokerStatus {
    id: i32,
    /// As host:port; null if it does not answer.
    address: Option<String>,
    /// How many partitions it leads.
    leads: usize,
}

#[derive(Serialize, ToSchema)]
struct TopicStatus {
    name: String,
    /// False if it is planned, but not there.
    exists: bool,
    partitions: usize,
    replicas: usize,
    without_leader: usize,
    out_of_sync: usize,
    /// What is other than planned.
    differences: Vec<DifferenceStatus>,
}

#[derive(Serialize, ToSchema)]
struct DifferenceStatus {
    what: String,
    planned: String,
    found: String,
}

/// Returns what is wrong, and how all is.
#[utoipa::path(
    get, path = "/api/operator/status", tag = "operator", security(("session" = []), ("token" = [])),
    responses((status = OK, body = Status, description = "Now."), Refusals),
)]
pub(super) async fn status(State(app): State<Arc<AppState>>, _: Operator) -> Json<Status> {
    Json(app.status().await)
}

impl AppState {
    /// What there is to see now.
    pub(crate) async fn status(&self) -> Status {
        let (at, now) = ((self.clock)(), self.fleet.now());
        let names = self.names_of(&now.programs).await;
        let regions = self.regions.iter().map(|handle| {
            let feed = handle.feed();
            let worst = now.problems.iter().find(|problem| problem.about == feed.region.key());
            RegionStatus {
                region: feed.region,
                state: feed.state,
                verdict: worst.map_or_else(|| "live".to_owned(), |worst| worst.text.clone()),
                since: worst.map(|worst| worst.since),
                what_to_do: worst.map(|worst| worst.what_to_do),
                credits: CreditStatus::of(feed.region, &now.credits),
            }
        });
        let regions = regions.collect();
        let programs = now.programs.into_iter().map(|program| program_status(program, &names)).collect();
        Status {
            at,
            is_well: now.problems.iter().all(|problem| problem.severity != Severity::Page),
            registration_is_open: self.accounts.registration_is_open(),
            regions,
            problems: now.problems,
            programs,
            kafka: now.cluster.as_ref().map(kafka),
        }
    }

    /// The names of the users whom these programs report.
    async fn names_of(&self, programs: &[ProgramNow]) -> HashMap<String, String> {
        let clients = programs.iter().filter_map(|it| it.program.report.clients.as_ref());
        let ids = clients.flat_map(|it| it.most.keys().chain(it.slow.iter().map(|client| &client.user)));
        let ids: BTreeSet<&String> = ids.collect();
        let named = join_all(ids.into_iter().map(async |id| Some((id.clone(), self.user_name(id).await?))));
        named.await.into_iter().flatten().collect()
    }

    /// A user's name. Whoever wants to know what is wrong doesn't wait for the store.
    async fn user_name(&self, id: &str) -> Option<String> {
        let user = UserId::named(id);
        let name = async { self.accounts.name_of(&user).await.map(|name| name.map(|name| name.as_str().to_owned())) };
        let name = timeout(NAMED_WITHIN, self.user_names.get(user.clone(), name)).await;
        name.ok()?.ok().and_then(|name| (*name).clone())
    }
}

fn program_status(ProgramNow { state, program }: ProgramNow, names: &HashMap<String, String>) -> ProgramStatus {
    let per_second = program.per_second().into_iter().map(|(name, value)| (name.to_owned(), rounded(value)));
    let (per_second, lags) = (per_second.collect(), program.lags().into_iter().map(LagStatus::from).collect());
    let sports = program.sports();
    let report = program.report;
    // The id of one whose name is not known.
    let name_of = |user: String| names.get(&user).cloned().unwrap_or(user);
    let clients = report.clients.map(|clients| {
        let most = clients.most.into_iter().map(|(user, connections)| OnlineUser { name: name_of(user), connections });
        let mut most: Vec<OnlineUser> = most.collect();
        most.sort_by_key(|user| Reverse(user.connections));
        let slow = clients.slow.into_iter();
        let slow = slow.map(|it| SlowStatus { id: it.id, name: name_of(it.user), since: it.since }).collect();
        ClientsStatus { users: clients.users, most, slow }
    });
    ProgramStatus {
        role: report.role,
        instance: report.instance,
        version: report.version.unwrap_or_default(),
        state: match state {
            ProgramState::Running => "running",
            ProgramState::Silent => "silent",
            ProgramState::Failed => "failed",
        },
        since: report.since,
        reported_at: report.at,
        memory: report.memory,
        values: report.values.iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        per_second,
        lags,
        sports,
        clients,
        troubles: report.troubles.unwrap_or_default(),
    }
}

/// With three digits behind the point.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

fn kafka(cluster: &fleet::Cluster) -> KafkaStatus {
    let state = &cluster.state;
    let leads = |id| {
        let partitions = state.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.filter(|partition| partition.leader == id).count()
    };
    let answering = state.brokers.iter().map(|it| (it.id, Some(it.address.clone())));
    let missing = state.missing_brokers().into_iter().map(|id| (id, None));
    let brokers = answering.chain(missing).map(|(id, address)| BrokerStatus { id, address, leads: leads(id) });
    let topics = state.topics.iter().map(|topic| TopicStatus {
        name: topic.name.clone(),
        exists: true,
        partitions: topic.partitions.len(),
        replicas: topic.replicas(),
        without_leader: topic.without_leader(),
        out_of_sync: topic.out_of_sync(),
        differences: (cluster.differences(&topic.name).into_iter())
            .map(|it| DifferenceStatus { what: it.what, planned: it.planned, found: it.found })
            .collect(),
    });
    let missing = cluster.missing_topics().map(|name| TopicStatus {
        name: name.to_owned(),
        exists: false,
        partitions: 0,
        replicas: 0,
        without_leader: 0,
        out_of_sync: 0,
        differences: Vec::new(),
    });
    KafkaStatus { brokers: brokers.collect(), topics: topics.chain(missing).collect() }
}
