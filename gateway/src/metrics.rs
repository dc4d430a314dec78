//! What a gateway tells about itself on `/metrics`.

use odds::Region;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfRegion {
    region: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfPartition {
    region: &'static str,
    partition: u32,
}

#[derive(Clone, Copy, Debug)]
struct Seconds;

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(exponential_buckets(0.000_1, 2.0, 18))
    }
}

/// Cheap to clone: all clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) connections: Gauge,
    pub(crate) refused: Counter,
    pub(crate) passwords_hashed: Counter,
    /// 1 if the store of accounts could be written when it was checked last, else 0.
    pub(crate) store_writable: Gauge,
    rooms: Family<OfRegion, Gauge>,
    members: Family<OfRegion, Gauge>,
    behind: Family<OfRegion, Gauge>,
    slow_client_deferrals: Family<OfRegion, Counter>,
    frames: Family<OfRegion, Counter>,
    bytes: Family<OfRegion, Counter>,
    updates: Family<OfRegion, Counter>,
    snapshots: Family<OfRegion, Counter>,
    mismatches: Family<OfRegion, Counter>,
    unreadable: Family<OfRegion, Counter>,
    events: Family<OfRegion, Gauge>,
    quotes: Family<OfRegion, Gauge>,
    lag: Family<OfPartition, Gauge>,
    tick: Family<OfRegion, Histogram, Seconds>,
    late: Family<OfRegion, Histogram, Seconds>,
    latency: Family<OfRegion, Histogram, Seconds>,
}

/// The metrics of one region.
#[derive(Clone, Debug)]
pub(crate) struct RegionMetrics {
    region: Region,
    all: Metrics,
    pub(crate) rooms: Gauge,
    pub(crate) members: Gauge,
    /// Members who are not at their room's cursor: slow, or on fewer frames by choice.
    pub(crate) behind: Gauge,
    pub(crate) slow_client_deferrals: Counter,
    /// Sent, each client's counted.
    pub(crate) frames: Counter,
    pub(crate) bytes: Counter,
    /// Events in the board's changes, once a tick.
    pub(crate) updates: Counter,
    pub(crate) snapshots: Counter,
    pub(crate) mismatches: Counter,
    pub(crate) unreadable: Counter,
    pub(crate) events: Gauge,
    pub(crate) quotes: Gauge,
    pub(crate) tick: Histogram,
    /// How late ticks are.
    pub(crate) late: Histogram,
    pub(crate) latency: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            connections: Gauge::default(),
            refused: Counter::default(),
            passwords_hashed: Counter::default(),
            store_writable: Gauge::default(),
            rooms: Family::default(),
            members: Family::default(),
            behind: Family::default(),
            slow_client_deferrals: Family::default(),
            frames: Family::default(),
            bytes: Family::default(),
            updates: Family::default(),
            snapshots: Family::default(),
            mismatches: Family::default(),
            unreadable: Family::default(),
            events: Family::default(),
            quotes: Family::default(),
            lag: Family::default(),
            tick: Family::new_with_constructor(Seconds),
            late: Family::new_with_constructor(Seconds),
            latency: Family::new_with_constructor(Seconds),
        }
    }
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        let to = registry.sub_registry_with_prefix("toteboard_gateway");
        to.register("connections", "Clients connected", self.connections.clone());
        to.register("connections_refused", "Clients turned away", self.refused.clone());
        let help = "Passwords hashed, to be kept or to be compared";
        to.register("passwords_hashed", help, self.passwords_hashed.clone());
        let help = "Whether the store of accounts could be written when it was checked last";
        to.register("store_writable", help, self.store_writable.clone());
        to.register("rooms", "Rooms: regions and filters in use", self.rooms.clone());
        to.register("members", "Clients in the rooms of a region", self.members.clone());
        to.register("members_behind", "Clients that are not at their room's cursor", self.behind.clone());
        to.register(
            "slow_client_deferrals",
            "Times that a client could not take a frame at once",
            self.slow_client_deferrals.clone(),
        );
        to.register("frames", "Frames sent, by client", self.frames.clone());
        to.register_with_unit("sent", "JSON sent, by client", Unit::Bytes, self.bytes.clone());
        to.register("updates", "Changed events in steps that were applied", self.updates.clone());
        to.register("snapshots", "Snapshots sent, by client", self.snapshots.clone());
        to.register("digest_mismatches", "Boards that did not fit their digest", self.mismatches.clone());
        to.register("unreadable_records", "Records that could not be read", self.unreadable.clone());
        to.register("board_events", "Events on the board", self.events.clone());
        to.register("board_quotes", "Quotes on the board", self.quotes.clone());
        to.register("lag", "Records of a partition that are not read yet", self.lag.clone());
        to.register_with_unit("tick", "What a tick takes", Unit::Seconds, self.tick.clone());
        to.register_with_unit(
            "tick_late",
            "How late a tick begins, from when a change had been read and a tick had passed",
            Unit::Seconds,
            self.late.clone(),
        );
        let help = "From a step's marker to the frame that carries it";
        to.register_with_unit("latency", help, Unit::Seconds, self.latency.clone());
    }

    pub(crate) fn of(&self, region: Region) -> RegionMetrics {
        let label = OfRegion { region: region.key() };
        RegionMetrics {
            region,
            all: self.clone(),
            rooms: self.rooms.get_or_create_owned(&label),
            members: self.members.get_or_create_owned(&label),
            behind: self.behind.get_or_create_owned(&label),
            slow_client_deferrals: self.slow_client_deferrals.get_or_create_owned(&label),
            frames: self.frames.get_or_create_owned(&label),
            bytes: self.bytes.get_or_create_owned(&label),
            updates: self.updates.get_or_create_owned(&label),
            snapshots: self.snapshots.get_or_create_owned(&label),
            mismatches: self.mismatches.get_or_create_owned(&label),
            unreadable: self.unreadable.get_or_create_owned(&label),
            events: self.events.get_or_create_owned(&label),
            quotes: self.quotes.get_or_create_owned(&label),
            tick: self.tick.get_or_create_owned(&label),
            late: self.late.get_or_create_owned(&label),
            latency: self.latency.get_or_create_owned(&label),
        }
    }
}

impl RegionMetrics {
    pub(crate) fn say_lag(&self, lag: &[i64]) {
        for (partition, lag) in (0..).zip(lag) {
            self.all.lag.get_or_create(&OfPartition { region: self.region.key(), partition }).set(*lag);
        }
    }
}
