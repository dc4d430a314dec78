//! Which of a recipient's due messages are sent next, as one.

use crate::{Content, State, StoredMessage};

/// Returns what is sent next of these messages, which are in the order in which they were added: those that a former
/// worker was sending, or else the oldest one, with those of its batch.
pub(crate) fn next_unit(due: Vec<StoredMessage>) -> (Vec<StoredMessage>, bool) {
    let Some(first) = due.iter().find(|it| it.state == State::Sending).or(due.first()) else {
        return (due, false);
    };
    let (is_taken_over, batch, id) = (first.state == State::Sending, first.batch.clone(), first.message.id.clone());
    let belongs = |it: &StoredMessage| match (&batch, is_taken_over) {
        (Some(batch), _) => it.batch.as_ref() == Some(batch),
        (None, true) => it.state == State::Sending,
        (None, false) => match it.message.content {
            Content::Transaction { .. } => it.message.id == id,
        },
    };
    (due.into_iter().filter(belongs).collect(), is_taken_over)
}
