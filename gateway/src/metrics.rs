//! The gateway's metrics.

use std::time::Duration;

use fleet::Cluster;
use history::HistoryError;
use kafka::Topic;
use odds::Region;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};
use service::{Labelled, MetricRegistry, MetricScope};

/// The first bucket of a histogram, in seconds, and how many there are.
const FIRST_BUCKET: f64 = 0.000_1;
const BUCKETS: u16 = 18;

/// From when on a tick counts as late.
const LATE: Duration = Duration::from_millis(100);

/// Cheap to clone: all clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) connections: Gauge,
    pub(crate) refused: Counter,
    pub(crate) passwords_hashed: Counter,
    /// 1 if the store of accounts could be written when it was last checked, else 0.
    pub(crate) store_writable: Gauge,
    pub(crate) replays: Gauge,
    pub(crate) alerts: Counter,
    history_damaged: Counter,
    /// Brokers that have replicas, but don't answer.
    brokers_missing: Gauge,
    without_leader: Gauge,
    out_of_sync: Gauge,
    topics_missing: Gauge,
    topics_differing: Gauge,
    regions: [RegionMetrics; Region::ALL.len()],
}

impl Metrics {
    pub fn new(registry: &mut MetricRegistry) -> Self {
        let mut scope = registry.scope("toteboard_gateway");
        let store_writable =
            scope.gauge("store_writable", "Whether the store of accounts could be written when it was last checked");
        // It was not checked yet, which is no fault.
        store_writable.set(1);
        Self {
            connections: scope.gauge("connections", "Clients connected"),
            refused: scope.counter("connections_refused", "Clients refused"),
            passwords_hashed: scope.counter("passwords_hashed", "Passwords hashed, to be stored or compared"),
            store_writable,
            replays: scope.gauge("replays", "Replays under way"),
            alerts: scope.counter("alerts", "Alerts for connected clients"),
            history_damaged: scope.counter(
                "history_damaged",
                "Answers that failed because a recorded board or price was not what was written",
            ),
            brokers_missing: scope.gauge("brokers_missing", "Brokers of Kafka that have replicas, but don't answer"),
            without_leader: scope.gauge("partitions_without_leader", "Partitions that no broker leads"),
            out_of_sync: scope.gauge("partitions_out_of_sync", "Partitions that lack replicas in sync"),
            topics_missing: scope.gauge("topics_missing", "Planned topics that don't exist"),
            topics_differing: scope.gauge("topics_differing", "Topics that are other than planned"),
            regions: Region::ALL.map(|region| RegionMetrics::new(&mut scope.of_region(region))),
        }
    }

    /// Notes how the brokers and topics are.
    pub(crate) fn set_cluster(&self, cluster: &Cluster) {
        let topics = || cluster.state.topics.iter().filter(|topic| cluster.concerns(&topic.name));
        let differing = topics().filter(|topic| !cluster.differences(&topic.name).is_empty()).count();
        self.brokers_missing.set(cluster.state.missing_brokers().len() as i64);
        self.without_leader.set(topics().map(Topic::without_leader).sum::<usize>() as i64);
        self.out_of_sync.set(topics().map(Topic::out_of_sync).sum::<usize>() as i64);
        self.topics_missing.set(cluster.missing_topics().count() as i64);
        self.topics_differing.set(differing as i64);
    }

    /// Counts the error if it says that what was recorded is damaged.
    pub(crate) fn count_damage(&self, error: &HistoryError) {
        if matches!(error, HistoryError::Damaged(_) | HistoryError::DamagedRow) {
            self.history_damaged.inc();
        }
    }

    pub(crate) fn of(&self, region: Region) -> &RegionMetrics {
        &self.regions[region as usize]
    }
}

/// The metrics of one region.
#[derive(Clone, Debug)]
pub(crate) struct RegionMetrics {
    pub(crate) rooms: Gauge,
    pub(crate) members: Gauge,
    /// Members that are slow, or that asked for fewer frames.
    pub(crate) behind: Gauge,
    pub(crate) slow_client_deferrals: Counter,
    /// One for each client that a frame is sent to.
    pub(crate) frames: Counter,
    pub(crate) json_bytes: Counter,
    pub(crate) sent_bytes: Counter,
    /// Counted once a tick.
    pub(crate) updates: Counter,
    pub(crate) snapshots: Counter,
    pub(crate) mismatches: Counter,
    pub(crate) unreadable: Counter,
    pub(crate) events: Gauge,
    pub(crate) quotes: Gauge,
    lag: Labelled<Gauge>,
    pub(crate) tick: Histogram,
    pub(crate) late: Histogram,
    /// Ticks that were more than [`LATE`] late.
    pub(crate) late_ticks: Counter,
    pub(crate) latency: Histogram,
}

impl RegionMetrics {
    fn new(scope: &mut MetricScope<'_>) -> Self {
        let mut seconds = |name, help| scope.seconds(name, help, FIRST_BUCKET, BUCKETS);
        let tick = seconds("tick", "Duration of a tick");
        let late = seconds("tick_late", "Delay of a tick, from when a change had been read and a tick had passed");
        let latency = seconds("latency", "From a step's marker to the frame that carries it");
        Self {
            rooms: scope.gauge("rooms", "Rooms: regions and filters in use"),
            members: scope.gauge("members", "Clients in the rooms of a region"),
            behind: scope.gauge("members_behind", "Clients that are not at their room's cursor"),
            slow_client_deferrals: scope
                .counter("slow_client_deferrals", "Frames that a client could not take at once"),
            frames: scope.counter("frames", "Frames sent, by client"),
            json_bytes: scope.byte_counter("json", "JSON sent, by client, before compression"),
            sent_bytes: scope.byte_counter("sent", "Frames sent, by client, after compression"),
            updates: scope.counter("updates", "Changed events in applied steps"),
            snapshots: scope.counter("snapshots", "Snapshots sent, by client"),
            mismatches: scope.counter("digest_mismatches", "Boards that did not match their digest"),
            unreadable: scope.counter("unreadable_records", "Records that could not be read"),
            events: scope.gauge("board_events", "Events on the board"),
            quotes: scope.gauge("board_quotes", "Quotes on the board"),
            lag: scope.gauges("lag", "Records of a partition that are not read yet", "partition"),
            tick,
            late,
            late_ticks: scope.counter("late_ticks", "Ticks that were more than a tenth of a second late"),
            latency,
        }
    }

    /// A tick began this long after it was due.
    pub(crate) fn was_late(&self, by: Duration) {
        self.late.observe(by.as_secs_f64());
        self.late_ticks.inc_by((by > LATE).into());
    }

    pub(crate) fn set_lag(&self, lag: &[i64]) {
        self.lag.set_each(lag);
    }
}
