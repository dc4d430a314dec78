//! Checks alerts.yml of Prometheus against the documentation, the alert tests and the registered metrics, and the dashboard
//! against the metrics.

use serde::Deserialize;

const FILE: &str = include_str!("../../../../deploy/prometheus/alerts.yml");
const TESTS: &str = include_str!("../../../../deploy/prometheus/alerts.test.yml");
const DASHBOARD: &str = include_str!("../../../../deploy/grafana/dashboard.json");
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

const PROGRAMS: [&str; 5] = ["gateway", "historian", "producer", "alerter", "notifier"];

/// The metrics that an expression names.
fn metrics(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("toteboard_"))
}

fn is_registered(metric: &str) -> bool {
    let name = PROGRAMS.iter().find_map(|it| metric.strip_prefix(&format!("toteboard_{it}_")));
    let name = name.unwrap_or_else(|| panic!("{metric}"));
    // Suffixes that the text format adds to counters and histograms.
    let endings = ["", "_bytes_total", "_total", "_seconds_bucket", "_seconds"];
    let mut names = endings.iter().filter_map(|it| name.strip_suffix(it));
    names.any(|name| METRICS.iter().any(|code| code.contains(&format!("\"{name}\""))))
}

#[test]
fn every_metric_of_an_alert_is_registered() {
    for Rule { alert, expr } in rules() {
        for metric in metrics(&expr) {
            assert!(is_registered(metric), "{alert}: {metric}");
        }
    }
}

#[test]
fn the_dashboard_shows_every_program_and_only_what_is_registered() {
    let dashboard: Dashboard = serde_json::from_str(DASHBOARD).expect("dashboard.json");
    let mut shown = Vec::new();
    for panel in &dashboard.panels {
        for target in &panel.targets {
            for metric in metrics(&target.expr) {
                assert!(is_registered(metric), "{}: {metric}", panel.title);
                shown.push(metric);
            }
        }
    }
    for program in PROGRAMS {
        let of_program = |metric: &&&str| metric.starts_with(&format!("toteboard_{program}_"));
        assert!(shown.iter().filter(of_program).count() >= 5, "{program}");
    }
}

#[derive(Deserialize)]
struct Dashboard {
    panels: Vec<Panel>,
}

#[derive(Deserialize)]
struct Panel {
    title: String,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    expr: String,
}
