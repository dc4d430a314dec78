//! Checks deploy/prometheus/alerts.yml against the documentation, the alert tests and the registered metrics.

use serde::Deserialize;

const FILE: &str = include_str!("../../../../deploy/prometheus/alerts.yml");
const TESTS: &str = include_str!("../../../../deploy/prometheus/alerts.test.yml");
const OPERATING: &str = include_str!("../../../../docs/operating.md");
const METRICS: [&str; 5] = [
    include_str!("../../../../gateway/src/metrics.rs"),
    include_str!("../../../../producers/src/metrics.rs"),
    include_str!("../../../../historian/src/metrics.rs"),
    include_str!("../../../../alerter/src/metrics.rs"),
    include_str!("../../../../notifier/src/metrics.rs"),
];

#[derive(Deserialize)]
struct Alerts {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: String,
    expr: String,
}

fn rules() -> Vec<Rule> {
    let alerts: Alerts = serde_saphyr::from_str(FILE).expect("alerts.yml");
    alerts.groups.into_iter().flat_map(|group| group.rules).collect()
}

#[test]
fn every_alert_is_explained() {
    let rules = rules();
    assert!(rules.len() > 10);
    for Rule { alert, .. } in rules {
        assert!(OPERATING.contains(&format!("`{alert}`")), "docs/operating.md does not explain {alert}");
    }
}

/// Only checks that both tests exist; `cargo xtask engines` runs them in Prometheus.
#[test]
fn every_alert_is_tried_when_it_fires_and_when_it_does_not() {
    for Rule { alert, .. } in rules() {
        let tries: Vec<&str> =
            TESTS.split("alertname: ").filter(|it| it.split([',', '\n']).next() == Some(&alert)).collect();
        assert!(tries.iter().any(|it| it.contains("exp_labels")), "{alert} never fires in alerts.test.yml");
        assert!(
            tries.iter().any(|it| it.starts_with(&format!("{alert}, "))),
            "{alert} always fires in alerts.test.yml"
        );
    }
}

#[test]
fn every_metric_of_an_alert_is_registered() {
    for Rule { alert, expr } in rules() {
        let words = expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for metric in words.filter(|word| word.starts_with("toteboard_")) {
            let programs = ["gateway", "historian", "producer", "alerter", "notifier"];
            let name = programs.iter().find_map(|it| metric.strip_prefix(&format!("toteboard_{it}_")));
            let name = name.unwrap_or_else(|| panic!("{alert}: {metric}"));
            // Suffixes that the text format adds to counters and histograms.
            let name = ["_total", "_seconds_bucket"].iter().find_map(|it| name.strip_suffix(it)).unwrap_or(name);
            assert!(METRICS.iter().any(|code| code.contains(&format!("\"{name}\""))), "{alert}: {metric}");
        }
    }
}
