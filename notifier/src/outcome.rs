//! What becomes of a message after an attempt, and how long it waits for the next one.

use std::time::Duration;

use messages::{Accepted, Channel, Fault, Outcome, Refusal};
use odds::Timestamp;
use rand::RngExt;

/// The pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// The longest pause of a message because its provider accepts nothing. The provider is asked more often than that, with
/// other messages.
const WHILE_FAILING: Duration = Duration::from_secs(10);

/// The outcome of an attempt, and the provider's words. `reference` names what was sent; `batch` is the name that it has
/// already, because an attempt before may have succeeded.
pub(crate) fn outcome_of(
    channel: Channel,
    result: Result<Accepted, Refusal>,
    attempts: u32,
    batch: Option<String>,
    reference: &str,
    now: Timestamp,
) -> (Outcome, Option<String>) {
    let later = |longest: Duration, batch: Option<String>| {
        // Full jitter, so that what failed together doesn't come back together.
        let wait = longest.mul_f64(rand::rng().random_range(0.1..1.0));
        Outcome::Later { due_at: now.plus_millis(wait.as_millis() as i64), batch }
    };
    match result {
        Ok(Accepted { provider_id, detail }) => (Outcome::Sent { provider_id }, detail),
        Err(Refusal::Never(reason)) => (Outcome::Failed, Some(reason)),
        Err(Refusal::NoRecipient(reason)) => (Outcome::NoRecipient, Some(reason)),
        Err(Refusal::Later { reason, at_fault: Fault::Message }) => (later(pause_after(attempts), batch), Some(reason)),
        Err(Refusal::Later { reason, at_fault: Fault::Provider }) => (later(WHILE_FAILING, batch), Some(reason)),
        Err(Refusal::Unknown(reason)) => match channel {
            // The same Message-ID lets the receiver drop a second copy.
            Channel::Email => (later(WHILE_FAILING, Some(reference.to_owned())), Some(reason)),
            Channel::Sms => (Outcome::Unknown { batch: reference.to_owned() }, Some(reason)),
        },
    }
}

fn pause_after(attempts: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2u32.saturating_pow(attempts.min(20))).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(0);

    fn after(channel: Channel, refusal: Refusal, attempts: u32) -> Outcome {
        outcome_of(channel, Err(refusal), attempts, None, "b", NOW).0
    }

    #[test]
    fn only_an_email_is_repeated_after_a_lost_answer_and_in_the_same_batch() {
        let lost = || Refusal::Unknown("lost".into());
        assert!(matches!(after(Channel::Email, lost(), 0), Outcome::Later { batch: Some(batch), .. } if batch == "b"));
        assert_eq!(after(Channel::Sms, lost(), 0), Outcome::Unknown { batch: "b".into() });
        assert_eq!(after(Channel::Sms, Refusal::Never("no such number".into()), 0), Outcome::Failed);
    }

    #[test]
    fn what_may_have_been_sent_stays_the_same_batch_whatever_comes_next() {
        for at_fault in [Fault::Message, Fault::Provider] {
            let refusal = Err(Refusal::Later { reason: "later".into(), at_fault });
            let (outcome, _) = outcome_of(Channel::Email, refusal, 1, Some("b".into()), "b", NOW);
            assert!(matches!(outcome, Outcome::Later { batch: Some(batch), .. } if batch == "b"));
        }
    }

    #[test]
    fn pauses_grow_to_an_hour_unless_the_provider_is_at_fault() {
        let wait = |at_fault, attempts| {
            let refusal = Refusal::Later { reason: "later".into(), at_fault };
            match after(Channel::Email, refusal, attempts) {
                Outcome::Later { due_at, .. } => due_at.as_millis(),
                other => panic!("{other:?}"),
            }
        };
        for (attempts, most) in [(0, 10_000), (3, 80_000), (30, 3_600_000)] {
            let wait = wait(Fault::Message, attempts);
            assert!((most / 10..=most).contains(&wait), "{wait} after {attempts}");
        }
        assert!(wait(Fault::Provider, 30) <= 10_000);
    }
}
