//! An alerter that is suspended for longer than its session in the group: another one has its shards when it wakes up.

use std::process::{Child, Command, Stdio};

use accounts::AlertState::Notified;
use alerts::{Arming, RuleId};
use tokio::time::Instant;

use crate::scene::{A_WHILE, DEADLINE, Scene};

/// An alerter as a process of its own. It is killed when dropped.
struct Process(Child);

impl Process {
    fn start(scene: &Scene) -> Self {
        let kafka = scene.cluster.settings();
        let mut command = Command::new(env!("CARGO_BIN_EXE_alerter"));
        command.arg(format!("--brokers={}", kafka.brokers)).args(["--recheck=1", "--log=warn"]);
        command.arg(format!("--store=sqlite:{}", scene.file().display()));
        command.args(kafka.properties.iter().map(|property| format!("--kafka={property}")));
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }

    /// Suspends it while it does not hold the lock of the store's file, which would stop all other alerters.
    async fn suspend(&self, scene: &Scene) {
        loop {
            self.signal("-STOP");
            if scene.store.check_writable(service::now()).await.is_ok() {
                return;
            }
            self.signal("-CONT");
        }
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(signal).arg(self.0.id().to_string()).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails if the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn armings(scene: &Scene, rule: RuleId) -> Vec<(u64, Arming)> {
    scene.store.active_rule(rule).await.unwrap().map(|active| active.armings).unwrap_or_default()
}

/// Waits until this episode of the rule is armed.
async fn is_armed(scene: &Scene, rule: RuleId, episode: u32) {
    let end = Instant::now() + DEADLINE;
    while armings(scene, rule).await.first().is_none_or(|(_, it)| it.episode != episode || it.fired) {
        assert!(Instant::now() < end, "episode {episode} is not armed");
        tokio::time::sleep(A_WHILE / 30).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alerter_that_wakes_up_after_another_took_over_decides_nothing_twice_and_retracts_nothing() {
    let mut scene = Scene::set().await;
    scene.price(200).await;
    let [first, again, once] = [
        scene.add_rule(r#""at_least":1.9"#).await,
        scene.add_rule(r#""at_least":2.1,"cooldown_minutes":60"#).await,
        scene.add_rule(r#""at_least":2.3"#).await,
    ];
    let suspended = Process::start(&scene);
    scene.price(201).await;
    scene.has_alerts(&[(first, Notified)]).await;

    suspended.suspend(&scene).await;
    let successor = Process::start(&scene);
    scene.price(220).await;
    scene.has_alerts(&[(first, Notified), (again, Notified)]).await;
    scene.price(195).await;
    is_armed(&scene, again, 2).await;
    let before = armings(&scene, again).await;

    // It has read neither price. It decides on both before it knows that it has lost its shards, or reads the rules
    // again afterwards.
    suspended.signal("-CONT");
    tokio::time::sleep(3 * A_WHILE).await;
    assert_eq!(armings(&scene, again).await, before);
    scene.has_alerts(&[(first, Notified), (again, Notified)]).await;

    // It works on.
    drop(successor);
    scene.price(240).await;
    scene.has_alerts(&[(first, Notified), (again, Notified), (once, Notified)]).await;
    let mut published = scene.published_so_far().await;
    published.sort_unstable();
    let mut expected = [first, again, once].map(|rule| (rule, 1));
    expected.sort_unstable();
    assert_eq!(published.iter().map(|id| (id.rule, id.episode)).collect::<Vec<_>>(), expected);
    assert_eq!(scene.unwatched().await, []);
}
