//! A program's metrics. The call that creates a metric also registers it, with the labels of its scope.

use std::{any::Any, collections::BTreeMap, fmt::Display, sync::atomic::AtomicU64};

use odds::Region;
use prometheus_client::{
    collector::Collector,
    encoding::EncodeMetric,
    metrics::{
        TypedMetric,
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

type Labels = Vec<(&'static str, String)>;

/// All metrics of a process.
#[derive(Default, Debug)]
pub struct MetricRegistry {
    registry: Registry,
    /// Families of metrics that differ only in their labels, by name.
    families: BTreeMap<String, Box<dyn Any + Send + Sync>>,
}

impl MetricRegistry {
    /// Returns a scope whose metrics have names that start with this prefix and an underscore.
    pub fn scope(&mut self, prefix: &'static str) -> MetricScope<'_> {
        MetricScope { registry: self, prefix, labels: Labels::new() }
    }

    /// Returns all metrics in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("writing to a string can't fail");
        text
    }
}

/// Creates metrics with a common prefix and common labels.
#[derive(Debug)]
pub struct MetricScope<'a> {
    registry: &'a mut MetricRegistry,
    prefix: &'static str,
    labels: Labels,
}

/// A family with one metric for each value of a label.
#[derive(Clone, Debug)]
pub struct Labelled<M> {
    family: Family<Labels, M>,
    labels: Labels,
    label: &'static str,
}

impl<M: Clone + Default> Labelled<M> {
    pub fn with(&self, value: impl Display) -> M {
        let mut labels = self.labels.clone();
        labels.push((self.label, value.to_string()));
        self.family.get_or_create_owned(&labels)
    }
}

impl Labelled<Gauge> {
    /// Sets the gauges of the label's values 0, 1, 2 and so on.
    pub fn set_each(&self, values: &[i64]) {
        for (n, value) in values.iter().enumerate() {
            self.with(n).set(*value);
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Buckets {
    first: f64,
    count: u16,
}

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(exponential_buckets(self.first, 2.0, self.count))
    }
}

impl MetricScope<'_> {
    /// Returns this scope with the label `region` added.
    pub fn of_region(&mut self, region: Region) -> MetricScope<'_> {
        let mut labels = self.labels.clone();
        labels.push(("region", region.key().to_owned()));
        MetricScope { registry: self.registry, prefix: self.prefix, labels }
    }

    pub fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        self.metric(name, help, None, Gauge::default)
    }

    pub fn float_gauge(&mut self, name: &str, help: &str) -> Gauge<f64, AtomicU64> {
        self.metric(name, help, None, Gauge::default)
    }

    pub fn counter(&mut self, name: &str, help: &str) -> Counter {
        self.metric(name, help, None, Counter::default)
    }

    pub fn byte_counter(&mut self, name: &str, help: &str) -> Counter {
        self.metric(name, help, Some(Unit::Bytes), Counter::default)
    }

    /// Creates a histogram of seconds with `count` buckets. The bounds start at `first` and double.
    pub fn seconds(&mut self, name: &str, help: &str, first: f64, count: u16) -> Histogram {
        self.metric(name, help, Some(Unit::Seconds), Buckets { first, count })
    }

    pub fn gauges(&mut self, name: &str, help: &str, label: &'static str) -> Labelled<Gauge> {
        Labelled { family: self.family(name, help, None, Gauge::default), labels: self.labels.clone(), label }
    }

    pub fn counters(&mut self, name: &str, help: &str, label: &'static str) -> Labelled<Counter> {
        Labelled { family: self.family(name, help, None, Counter::default), labels: self.labels.clone(), label }
    }

    /// Registers metrics whose values are computed when they are read.
    pub fn collector(&mut self, collector: impl Collector) {
        let labels = self.labels.iter().map(|(name, value)| ((*name).into(), value.clone().into()));
        let registry = self.registry.registry.sub_registry_with_prefix(self.prefix);
        registry.sub_registry_with_labels(labels).register_collector(Box::new(collector));
    }

    fn metric<M, C>(&mut self, name: &str, help: &str, unit: Option<Unit>, constructor: C) -> M
    where
        M: Clone + std::fmt::Debug + EncodeMetric + TypedMetric + Send + Sync + 'static,
        C: MetricConstructor<M> + Clone + Send + Sync + 'static,
    {
        if self.labels.is_empty() {
            let metric = constructor.new_metric();
            self.register(name, help, unit, metric.clone());
            return metric;
        }
        let labels = self.labels.clone();
        self.family(name, help, unit, constructor).get_or_create_owned(&labels)
    }

    /// Returns the family of this name, and registers it the first time.
    fn family<M, C>(&mut self, name: &str, help: &str, unit: Option<Unit>, constructor: C) -> Family<Labels, M, C>
    where
        M: Clone + std::fmt::Debug + EncodeMetric + TypedMetric + Send + Sync + 'static,
        C: MetricConstructor<M> + Clone + Send + Sync + 'static,
    {
        let key = format!("{}_{name}", self.prefix);
        if let Some(known) = self.registry.families.get(&key) {
            return known.downcast_ref::<Family<Labels, M, C>>().expect("metrics of one name have one type").clone();
        }
        let family = Family::new_with_constructor(constructor);
        self.register(name, help, unit, family.clone());
        self.registry.families.insert(key, Box::new(family.clone()));
        family
    }

    fn register(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        metric: impl prometheus_client::registry::Metric,
    ) {
        let name = format!("{}_{name}", self.prefix);
        match unit {
            Some(unit) => self.registry.registry.register_with_unit(name, help, unit, metric),
            None => self.registry.registry.register(name, help, metric),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_two_regions_are_one_family() {
        let mut registry = MetricRegistry::default();
        let mut scope = registry.scope("toteboard_test");
        scope.gauge("connections", "Clients connected").set(2);
        for region in [Region::Us, Region::Uk] {
            let mut scope = scope.of_region(region);
            scope.counter("frames", "Frames sent").inc_by(region as u64 + 1);
            scope.gauges("lag", "Records not read yet", "partition").with(1).set(7);
            scope.seconds("tick", "Duration of a tick", 0.001, 2).observe(0.0005);
        }
        let text = registry.encode();
        for line in [
            "toteboard_test_connections 2",
            "toteboard_test_frames_total{region=\"us\"} 1",
            "toteboard_test_frames_total{region=\"uk\"} 2",
            "toteboard_test_lag{region=\"uk\",partition=\"1\"} 7",
            "toteboard_test_tick_seconds_bucket{le=\"0.001\",region=\"uk\"} 1",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
        assert_eq!(text.matches("# TYPE toteboard_test_frames ").count(), 1, "{text}");
    }
}
