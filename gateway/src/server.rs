//! Assembles the gateway: the listener, the region tasks and the routes.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use accounts::{Accounts, Allowance, Sessions, SignInCode, Store};
use anyhow::Context;
use kafka::{
    ALERTS, ClusterReader, ConsumerMode, ControlWriter, FLEET, KafkaSettings, ReadFrom, TopicFollower, follow_control,
};
use odds::{Region, Timestamp};
use service::Lifecycle;
use socketioxide::{ParserConfig, SocketIo, TransportType};
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Handle,
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;
use tower::Layer;
use tracing::{Instrument, error_span, warn};

use crate::{
    GatewaySettings, Metrics,
    brief::Brief,
    files,
    filters::Filters,
    free_memory,
    http::{self, KnownOperators, Openings},
    messages::{MessageParts, Messages},
    operator::{ClientWatch, FleetWatch},
    origin_policy::OriginPolicy,
    page,
    readiness::Readiness,
    region::{RegionContext, RegionHandle, RegionTask},
    session::{self, AppState, Limits, MOST_SENT_AWAY, SENT_AWAY_EVERY},
    transport::{self, Certificate, Door, Engine, Entrance, Most, Transport, Turnover, WritableQueues},
    turns::Turns,
};

/// The capacity of a socket's queue. It holds a frame and a feed of each region, and answers. It has room for more answers
/// than a client may have pending requests. Memory is allocated as it fills.
const SOCKET_QUEUE: usize = 128;
/// The most bytes in one answer to a poll. All that may be queued fits.
const MAX_QUEUED: u64 = 64 << 20;
/// Engine.IO pings nobody but once in ten years: the transport pings clients.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// An Engine.IO session without a Socket.IO connection is closed after this time.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// How many requests stream the history at once, and how many of one user.
const HISTORY_STREAMS: usize = 4;
const HISTORY_STREAMS_PER_USER: usize = 2;
/// How many replays may be under way, and how many of one user.
const REPLAYS: usize = 8;
const REPLAYS_PER_USER: usize = 2;
/// How many requests look at whole boards or at prices of many events at once, and how many of one user.
const ANALYSES: usize = 16;
const ANALYSES_PER_USER: usize = 4;
/// How much is kept for other requests.
const MOST_LIVE_LINES: usize = 16;
const MOST_RECORDED_BOARDS: usize = 16;
const MOST_SPARKLINES: usize = 2_000;
/// For how long requests use the same live prices,
const LIVE_FOR: Duration = Duration::from_secs(1);
/// the same recorded boards,
const RECORDED_FOR: Duration = Duration::from_secs(5);
/// and the same small charts.
const CHARTED_FOR: Duration = Duration::from_secs(90);
/// For how long operators see the same names of users.
const NAMED_FOR: Duration = Duration::from_secs(60);
const MOST_NAMES: usize = 1_000;
/// How often it is checked whether the store can be written, at least.
const STORE_EVERY: Duration = Duration::from_secs(3);
/// Connections beyond those of clients, for HTTP requests.
const OTHER_CONNECTIONS: usize = 1_000;
const OTHER_CONNECTIONS_PER_ADDRESS: usize = 100;

/// A gateway that is bound to its address, but not started.
pub struct Gateway {
    listener: TcpListener,
    certificate: Option<Certificate>,
    settings: GatewaySettings,
    kafka: KafkaSettings,
    store: Arc<dyn Store>,
    history: Option<Arc<dyn history::Store>>,
    messages: Option<MessageParts>,
    sign_in_code: Option<SignInCode>,
    clock: fn() -> Timestamp,
    metrics: Metrics,
    client_watch: Arc<ClientWatch>,
}

/// The length of the kernel's accept queue. Clients for which it has no room retry only seconds later.
const BACKLOG: u32 = 16_384;

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Gateway {
    pub fn bind(
        settings: GatewaySettings,
        kafka: KafkaSettings,
        store: Arc<dyn Store>,
        clock: fn() -> Timestamp,
        metrics: Metrics,
    ) -> anyhow::Result<Self> {
        let listener = listen(settings.listen).with_context(|| format!("--listen {}", settings.listen))?;
        if let Some(folder) = &settings.page {
            anyhow::ensure!(folder.join("index.html").is_file(), "--page {}: it has no index.html", folder.display());
        }
        let certificate = settings.tls_cert.as_deref().zip(settings.tls_key.as_deref());
        let certificate = certificate.map(|(file, key)| Certificate::read(file, key)).transpose()?;
        Ok(Self {
            listener,
            certificate,
            settings,
            kafka,
            store,
            history: None,
            messages: None,
            sign_in_code: None,
            clock,
            metrics,
            client_watch: Arc::default(),
        })
    }

    /// Also serves the history in this store.
    #[must_use]
    pub fn with_history(self, history: Arc<dyn history::Store>) -> Self {
        Self { history: Some(history), ..self }
    }

    /// Also serves messages, and produces records.
    #[must_use]
    pub fn with_messages(self, messages: MessageParts) -> Self {
        Self { messages: Some(messages), ..self }
    }

    /// Accepts this code once, instead of a name and a password.
    #[must_use]
    pub fn with_sign_in_code(self, code: SignInCode) -> Self {
        Self { sign_in_code: Some(code), ..self }
    }

    /// Tells which clients it has, for its reports.
    pub fn clients(&self) -> impl Fn() -> fleet::Clients + Send + Sync + use<> {
        let watch = self.client_watch.clone();
        move || watch.now()
    }

    /// The origin of links in messages, if it is known.
    pub fn public_origin(&self) -> std::io::Result<Option<String>> {
        let origins = self.settings.origins(self.address()?);
        Ok(origins.first().map(|origin| origin.as_str().to_owned()))
    }

    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Starts the gateway's tasks in this lifecycle: a thread for each region, the account checks and the listener.
    pub fn start(self, lifecycle: &Lifecycle) -> anyhow::Result<()> {
        let Self {
            listener,
            certificate,
            settings,
            kafka,
            store,
            history,
            messages,
            sign_in_code,
            clock,
            metrics,
            client_watch,
        } = self;
        let origins = OriginPolicy::new(settings.origins(listener.local_addr()?), settings.is_secure()?);
        if origins.are_none() {
            warn!("browsers can't sign in, only programs with tokens: set --public-origin");
        }
        let accounts = Accounts::new(store.clone(), settings.accounts.account_settings(), clock)
            .counting(metrics.passwords_hashed.clone())
            .with_sign_in_code(sign_in_code);
        let instance = settings.instance()?;
        let readiness = Arc::new(Readiness::default());
        let control = ControlWriter::new(&kafka)?;
        let (writable_queues, writable): (Vec<_>, Vec<_>) =
            Region::ALL.map(|_| mpsc::unbounded_channel()).into_iter().unzip();
        let writable_queues = WritableQueues::new(writable_queues.try_into().expect("one for each region"));
        let door = Door::new(&settings.accounts, listener.local_addr()?);
        let departing = CancellationToken::new();
        let over_tls = origins.are_secure();
        let (handles, inboxes): (Vec<_>, Vec<_>) =
            Region::ALL.map(|region| RegionHandle::new(region, clock())).into_iter().unzip();
        let topics = settings.produce_topics.clone();
        let messages = messages.map(|parts| Messages::new(parts, origins.first(), &kafka, topics)).transpose()?;
        let app = Arc::new(AppState {
            regions: handles.try_into().expect("one for each region"),
            limits: Limits {
                connections: settings.max_connections,
                per_address: settings.max_connections_per_address,
                per_user: settings.max_connections_per_user,
            },
            filters: Filters::new(settings.max_filters as usize, settings.max_filters_per_user as usize),
            readiness: readiness.clone(),
            metrics: metrics.clone(),
            accounts,
            clock,
            history,
            messages,
            history_turns: Turns::new(HISTORY_STREAMS, HISTORY_STREAMS_PER_USER),
            replay_turns: Turns::new(REPLAYS, REPLAYS_PER_USER),
            analysis_turns: Turns::new(ANALYSES, ANALYSES_PER_USER),
            live_boards: Brief::new(LIVE_FOR, Region::ALL.len()),
            live_lines: Brief::new(LIVE_FOR, MOST_LIVE_LINES),
            recorded_boards: Brief::new(RECORDED_FOR, MOST_RECORDED_BOARDS),
            sparklines: Brief::new(CHARTED_FOR, MOST_SPARKLINES),
            openings: Openings::default(),
            fleet: FleetWatch::new(clock()),
            known_operators: KnownOperators::default(),
            client_watch,
            operator_clients: Mutex::default(),
            user_names: Brief::new(NAMED_FOR, MOST_NAMES),
            kafka: kafka.clone(),
            origins,
            control: control.clone(),
            clients: Mutex::default(),
            sent_away: Allowance::new(MOST_SENT_AWAY, SENT_AWAY_EVERY),
        });
        let (sockets, io) = SocketIo::builder()
            .with_state(app.clone())
            .max_buffer_size(SOCKET_QUEUE)
            .req_path(transport::PATH)
            .transports([TransportType::Polling])
            .with_parser(ParserConfig::common().max_incoming_binaries(0))
            .max_payload(MAX_QUEUED)
            .connect_timeout(HELLO_WITHIN)
            .ping_interval(NEVER)
            .ping_timeout(NEVER)
            .build_svc();
        session::serve(&io);
        let engine = Engine::new(sockets);
        let transport = Transport::new(engine, writable_queues, &settings, over_tls, door, departing.clone());

        for ((region, inbox), writable) in Region::ALL.into_iter().zip(inboxes).zip(writable) {
            let context = RegionContext {
                region,
                clock,
                tick: settings.tick(),
                ping_timeout: settings.heartbeat().timeout,
                metrics: metrics.of(region).clone(),
                readiness: readiness.clone(),
                control: control.clone(),
                writable,
                threads: Handle::current(),
            };
            let group = match settings.alone {
                true => format!("gateway-{region}"),
                false => format!("gateway-{region}-{instance}"),
            };
            let consumers = settings.consumers(region);
            let mode = ConsumerMode::Group { group, instance: instance.clone(), consumers };
            let task = RegionTask::new(context, inbox).run(kafka.clone(), mode, lifecycle.stopping());
            // The span adds the region to each log line.
            let task = task.instrument(error_span!("board", %region));
            lifecycle.run_apart(format!("region {region}"), task)?;
        }

        let published = TopicFollower::new(&kafka, ALERTS, ReadFrom::End)?;
        lifecycle.run("alerts", app.clone().follow_alerts(published, lifecycle.stopping()));
        let reports = TopicFollower::new(&kafka, FLEET, ReadFrom::Beginning)?;
        lifecycle.run("reports of programs", app.clone().follow_fleet(reports, lifecycle.stopping()));
        lifecycle.run("verdicts", app.clone().judge_fleet(lifecycle.stopping()));
        let cluster = ClusterReader::new(&kafka)?;
        lifecycle.run("the cluster's state", app.clone().watch_cluster(cluster, lifecycle.stopping()));
        lifecycle.run("slow clients", app.clone().watch_clients(lifecycle.stopping()));
        lifecycle.run("what operators see", app.clone().send_statuses(lifecycle.stopping()));
        let reader = follow_control(&kafka)?;
        let recheck = Duration::from_secs(settings.accounts.recheck);
        lifecycle.run("accounts", app.clone().follow_accounts(reader, recheck, lifecycle.stopping()));
        lifecycle.run("store check", app.clone().check_store(STORE_EVERY.min(recheck), lifecycle.stopping()));

        let mut router = http::router(&app, Sessions::new(store, clock));
        if let Some(folder) = &settings.page {
            router = router.merge(page::routes(folder));
        }
        // Outside of the router, which would keep a copy of every request's URI.
        let service = transport.layer(router);
        let proxies = settings.accounts.trusted_proxy.into();
        let most = Most {
            all: files::connections_that_fit(settings.max_connections + OTHER_CONNECTIONS),
            of_network: settings.max_connections_per_address + OTHER_CONNECTIONS_PER_ADDRESS,
        };
        let (departs, closed) = (departing.clone(), CancellationToken::new());
        let tls = certificate.as_ref().map(Certificate::config).transpose()?;
        if let Some(certificate) = certificate {
            lifecycle.run("the certificate", certificate.follow(lifecycle.stopping()));
        }
        let turnover = Turnover::default();
        lifecycle.run("free memory", free_memory::give_back(turnover.clone(), lifecycle.stopping()));
        let entrance = Entrance { proxies, most, turnover, tls };
        let serving = transport::serve(listener, service, entrance, departing, closed.clone());
        lifecycle.run("listener", serving);
        let (stopping, all_away) = (lifecycle.stopping(), CancellationToken::new());
        let sent_away = all_away.clone();
        lifecycle.run_before_stop("drain", async move {
            readiness.stop();
            departs.cancel();
            app.send_all_away(Duration::from_secs(settings.drain_seconds), &stopping).await;
            sent_away.cancel();
        });
        let stopping = lifecycle.stopping();
        lifecycle.run("the end of connections", async move {
            stopping.cancelled().await;
            all_away.cancelled().await;
            closed.cancel();
            Ok(())
        });
        Ok(())
    }
}
