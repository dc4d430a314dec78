//! Keeps the newest warnings and errors of a process, for those who watch it from elsewhere.

use std::{
    collections::VecDeque,
    fmt::{self, Write},
    sync::{Arc, Mutex},
};

use odds::Timestamp;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

/// How many are kept.
const KEPT: usize = 5;
/// The longest text of one, in bytes.
const LONGEST: usize = 160;
/// What is said about single accounts is not for those who watch the program.
const PRIVATE: &str = "audit";

/// A warning or an error that was logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub at: Timestamp,
    pub is_error: bool,
    pub text: String,
}

/// The newest warnings and errors. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Troubles(Arc<Mutex<VecDeque<Trouble>>>);

impl Troubles {
    /// The newest, the oldest first.
    pub fn newest(&self) -> Vec<Trouble> {
        self.0.lock().expect("nobody panics while holding it").iter().cloned().collect()
    }

    fn add(&self, trouble: Trouble) {
        let mut kept = self.0.lock().expect("nobody panics while holding it");
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(trouble);
    }
}

impl<S: Subscriber> Layer<S> for Troubles {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        if level > Level::WARN || target == PRIVATE {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let text = text.joined();
        self.add(Trouble { at: crate::now(), is_error: level == Level::ERROR, text });
    }
}

/// An event's message and its fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn joined(self) -> String {
        let mut text = self.message + &self.fields;
        if text.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
            text.truncate(end);
            text.push('…');
        }
        text
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string can't fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn the_newest_warnings_and_errors_are_kept_in_short() {
        let troubles = Troubles::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(troubles.clone()), || {
            tracing::info!("not this");
            tracing::warn!(target: "audit", user = "u1", "nor this");
            for n in 0..KEPT {
                tracing::warn!(n, "old");
            }
            tracing::warn!(topic = "odds.uk", error = %"no answer", "the topic can't be read");
            tracing::error!("ä{}", "x".repeat(2 * LONGEST));
        });
        let newest = troubles.newest();
        assert_eq!(newest.len(), KEPT);
        assert_eq!(newest[KEPT - 2].text, "the topic can't be read topic=odds.uk error=no answer");
        let last = &newest[KEPT - 1];
        assert!(last.is_error && last.text.len() <= LONGEST + '…'.len_utf8(), "{last:?}");
    }
}
