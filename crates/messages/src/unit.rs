//! Which of a recipient's due messages are sent next, as one.

use crate::{State, StoredMessage};

/// If more alerts than this wait for somebody, they are sent as one.
const SINGLE_ALERTS: usize = 3;
/// How many alerts one message lists.
const MOST_ALERTS: usize = 50;

/// Returns what is sent next of these messages, which are in the order in which they were added: those that a former
/// worker was sending, or else the oldest one, with those of its batch.
pub(crate) fn next_unit(due: Vec<StoredMessage>) -> (Vec<StoredMessage>, bool) {
    let Some(first) = due.iter().find(|it| it.state == State::Sending).or(due.first()) else {
        return (due, false);
    };
    let (is_taken_over, batch, id) = (first.state == State::Sending, first.batch.clone(), first.message.id.clone());
    let may_join = |it: &StoredMessage| it.batch.is_none() && it.message.content.is_alert();
    let is_digest = may_join(first) && due.iter().filter(|it| may_join(it)).count() > SINGLE_ALERTS;
    let belongs = |it: &StoredMessage| match (&batch, is_taken_over) {
        (_, true) if batch.is_none() => it.state == State::Sending,
        (Some(batch), _) => it.batch.as_ref() == Some(batch),
        (None, _) => {
            if is_digest {
                may_join(it)
            } else {
                it.message.id == id
            }
        }
    };
    let most = if is_digest && !is_taken_over { MOST_ALERTS } else { usize::MAX };
    (due.into_iter().filter(belongs).take(most).collect(), is_taken_over)
}

#[cfg(test)]
mod tests {
    use odds::Timestamp;

    use super::*;
    use crate::{Channel, Content, NewMessage};

    fn stored(id: usize, is_alert: bool) -> StoredMessage {
        let at = Timestamp::from_millis(0);
        let content = match is_alert {
            true => Content::Alert { title: "A".into(), text: "B".into(), at },
            false => Content::Transaction { transaction_id: "t".into(), body: String::new() },
        };
        StoredMessage {
            message: NewMessage {
                id: format!("m-{id}").parse().unwrap(),
                channel: Channel::Email,
                recipient: "anna@example.com".into(),
                user: None,
                content,
                created_at: at,
                deadline: at,
                skipped: None,
            },
            order: id as i64,
            state: State::Waiting,
            attempts: 0,
            detail: None,
            provider_id: None,
            batch: None,
            changed_at: at,
        }
    }

    fn next(due: Vec<StoredMessage>) -> (Vec<i64>, bool) {
        let (unit, is_taken_over) = next_unit(due);
        (unit.into_iter().map(|it| it.order).collect(), is_taken_over)
    }

    #[test]
    fn few_alerts_are_sent_one_by_one_and_many_as_one() {
        let alerts = |count| (0..count).map(|id| stored(id, true)).collect::<Vec<_>>();
        assert_eq!(next(Vec::new()), (Vec::new(), false));
        assert_eq!(next(alerts(3)), (vec![0], false));
        assert_eq!(next(alerts(4)), (vec![0, 1, 2, 3], false));
        assert_eq!(next(alerts(200)).0.len(), 50);
        let mut mixed = alerts(5);
        mixed.insert(2, stored(9, false));
        assert_eq!(next(mixed.clone()).0, [0, 1, 2, 3, 4]);
        mixed.rotate_left(2);
        assert_eq!(next(mixed).0, [9], "a transaction has its turn");
    }

    #[test]
    fn what_was_being_sent_is_finished_first_and_as_it_was() {
        let mut due: Vec<_> = (0..9).map(|id| stored(id, true)).collect();
        for at in [3, 5] {
            due[at].state = State::Sending;
        }
        assert_eq!(next(due.clone()), (vec![3, 5], true));
        for at in [1, 2, 7] {
            due[at].batch = Some("b".into());
        }
        for it in &mut due {
            it.state = State::Waiting;
        }
        assert_eq!(next(due.clone()).0, [0, 3, 4, 5, 6, 8], "not those of another batch");
        due.remove(0);
        assert_eq!(next(due).0, [1, 2, 7]);
    }
}
