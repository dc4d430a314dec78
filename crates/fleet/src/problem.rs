//! What can be wrong, and what to do about it.

use odds::Timestamp;
use serde::Serialize;

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Users miss something now.
    Page,
    Warning,
}

/// A kind of problem, by the name that it has in docs/operating.md and in the alerts of Prometheus, the most important
/// first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Kind {
    KafkaDoesNotAnswer,
    NobodyLeads,
    PartitionsWithoutLeader,
    TopicsAreMissing,
    PricesAreOld,
    EventsWaitForKafka,
    AccountsNotStored,
    HistoryNotStored,
    NobodyRecords,
    ShardsWithoutAlerter,
    AlertsNotStored,
    NoNotifier,
    ProviderFails,
    MessagesNotStored,
    MessagesWait,
    ProgramHasFailed,
    ProgramIsSilent,
    BrokerIsDown,
    ReplicasOutOfSync,
    TopicsDiffer,
    PollsFail,
    CreditsUsedUp,
    CreditsRunOut,
    GatewayLags,
    HistorianLags,
    AlerterLags,
    MessagesNotRead,
    DeadLetters,
}

impl Kind {
    pub const ALL: [Self; 28] = [
        Self::KafkaDoesNotAnswer,
        Self::NobodyLeads,
        Self::PartitionsWithoutLeader,
        Self::TopicsAreMissing,
        Self::PricesAreOld,
        Self::EventsWaitForKafka,
        Self::AccountsNotStored,
        Self::HistoryNotStored,
        Self::NobodyRecords,
        Self::ShardsWithoutAlerter,
        Self::AlertsNotStored,
        Self::NoNotifier,
        Self::ProviderFails,
        Self::MessagesNotStored,
        Self::MessagesWait,
        Self::ProgramHasFailed,
        Self::ProgramIsSilent,
        Self::BrokerIsDown,
        Self::ReplicasOutOfSync,
        Self::TopicsDiffer,
        Self::PollsFail,
        Self::CreditsUsedUp,
        Self::CreditsRunOut,
        Self::GatewayLags,
        Self::HistorianLags,
        Self::AlerterLags,
        Self::MessagesNotRead,
        Self::DeadLetters,
    ];

    pub fn severity(self) -> Severity {
        if self < Self::ProgramHasFailed { Severity::Page } else { Severity::Warning }
    }

    /// What to do about it. docs/operating.md says the same.
    pub fn what_to_do(self) -> &'static str {
        match self {
            Self::KafkaDoesNotAnswer => {
                "see \"A broker is down\"; `topic-creator describe` shows which brokers answer, and whether `fleet` exists"
            }
            Self::NobodyLeads => {
                "start one; any number may run, and one of them leads. Its log names what it can't reach"
            }
            Self::PartitionsWithoutLeader => {
                "start the broker that leads them; `topic-creator describe` shows which. What is only there can't be read or \
                 written until then"
            }
            Self::TopicsAreMissing => "`topic-creator create` creates them",
            Self::PricesAreOld => "see what else is wrong with the region; its producer's log says when it polls again",
            Self::EventsWaitForKafka => {
                "see \"A broker is down\". Nothing is lost while the producer runs; if it exits, the next leader polls the odds \
                 again"
            }
            Self::AccountsNotStored => "start MongoDB, or free some space. No acknowledged change is lost",
            Self::HistoryNotStored => "free some space, or start QuestDB. The historian goes on where it stopped",
            Self::NobodyRecords => {
                "start a historian; what the topics still have is recorded then. Its log names what it can't reach"
            }
            Self::ShardsWithoutAlerter => {
                "start one; any number may run, and they divide the eight shards. Its log names what it can't reach"
            }
            Self::AlertsNotStored => {
                "see \"Accounts can't be stored\" and \"MongoDB is down\". The alerter decides nothing until it can, and then \
                 catches up"
            }
            Self::NoNotifier => "start one. Nothing is lost for seven days",
            Self::ProviderFails => {
                "the notifier's log has its words. It is tried again every ten seconds, and nothing has to be started"
            }
            Self::MessagesNotStored => "see \"MongoDB is down\". Records wait on Kafka",
            Self::MessagesWait => {
                "with `ProviderFails`, see there; otherwise, add a notifier, or ask the provider for more"
            }
            Self::ProgramHasFailed => {
                "mend what it says, and start it again, if nothing does that by itself. Others take over its work"
            }
            Self::BrokerIsDown => "start it. What has other replicas goes on without it",
            Self::ReplicasOutOfSync => {
                "nothing, if a broker has just come back: it fetches what it lacks. Stop no other broker until then"
            }
            Self::TopicsDiffer => {
                "`topic-creator create` changes the settings. Partitions and replicas are changed with Kafka's own tools"
            }
            Self::ProgramIsSilent => {
                "start it again, if it was not stopped on purpose; after an hour, it is forgotten. Others take over its work"
            }
            Self::PollsFail => {
                "nothing: the producer retries with growing pauses. If upstream refuses the key, the producer exits and logs \
                 one line that says so"
            }
            Self::CreditsUsedUp => {
                "nothing: polls continue at the renewal or at midnight UTC. To continue sooner: a larger plan upstream, fewer \
                 `--sports` or `--markets`, or another `--credit-share`"
            }
            Self::CreditsRunOut => {
                "nothing: credits come back at the renewal. To continue sooner: a larger plan upstream"
            }
            Self::GatewayLags => "the gateway can't read fast enough; check its CPU",
            Self::HistorianLags => "if it lasts, look at the store: it is slow, or its disk is",
            Self::AlerterLags => "if it lasts, add an alerter",
            Self::MessagesNotRead => "if it lasts, add a notifier, or look at the store",
            Self::DeadLetters => {
                "the header `dead_reason` says what is wrong. When it is mended, produce them again, on the operators' page or with \
                 `notifier replay`"
            }
        }
    }
}

/// Something that is wrong now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub name: Kind,
    pub severity: Severity,
    /// A region, a channel, a program, a broker or a topic. Empty if it concerns all.
    pub about: String,
    pub text: String,
    pub since: Timestamp,
    pub what_to_do: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_each_problem_and_what_to_do() {
        let document = include_str!("../../../docs/operating.md");
        let words: Vec<&str> = document.split_whitespace().collect();
        let document = words.join(" ");
        for kind in Kind::ALL {
            assert!(document.contains(&format!("`{kind:?}`")), "{kind:?}");
            assert!(document.contains(kind.what_to_do()), "{kind:?}: {}", kind.what_to_do());
        }
    }
}
