//! Tests of `PartitionGroup`: each partition has one holder, and finds another when its holder leaves.

use std::{collections::BTreeSet, time::Duration};

use kafka::{Embedded, GroupEvent, PartitionGroup, TopicSpec};
use tokio::time::{Instant, timeout};

const TOPIC: &str = "shared";
const DEADLINE: Duration = Duration::from_secs(60);

struct Member {
    group: PartitionGroup,
    held: BTreeSet<i32>,
}

impl Member {
    fn join(cluster: &Embedded) -> Self {
        let group = PartitionGroup::join(&cluster.settings(), "workers", TOPIC).unwrap();
        Self { group, held: BTreeSet::new() }
    }

    /// Takes what has happened within this time.
    async fn catch_up(&mut self, within: Duration) {
        while let Ok(event) = timeout(within, self.group.next()).await {
            match event {
                GroupEvent::Assigned(partitions) => self.held.extend(partitions),
                GroupEvent::Revoked(partitions) => self.held.retain(|it| !partitions.contains(it)),
            }
        }
    }
}

/// Waits until the members hold all eight partitions, each once.
async fn all_are_held(members: &mut [&mut Member]) {
    let end = Instant::now() + DEADLINE;
    loop {
        for member in &mut *members {
            member.catch_up(Duration::from_millis(100)).await;
        }
        let held: Vec<i32> = members.iter().flat_map(|member| member.held.iter().copied()).collect();
        let each_once: BTreeSet<i32> = held.iter().copied().collect();
        let everybody = members.iter().all(|member| !member.held.is_empty());
        if held.len() == 8 && each_once.len() == 8 && everybody {
            return;
        }
        assert!(Instant::now() < end, "{held:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_partition_has_one_holder_and_finds_another() {
    let topic = TopicSpec { name: TOPIC.into(), partitions: 8, replication: 1, settings: Vec::new() };
    let cluster = Embedded::start(&[topic]).unwrap();
    let mut one = Member::join(&cluster);
    all_are_held(&mut [&mut one]).await;
    let mut two = Member::join(&cluster);
    all_are_held(&mut [&mut one, &mut two]).await;
    assert!(one.held.len() == 4 && two.held.len() == 4, "{:?} {:?}", one.held, two.held);
    one.group.leave();
    drop(one);
    all_are_held(&mut [&mut two]).await;
    assert_eq!(two.held.len(), 8);
}
