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
    span::{Attributes, Id},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

/// How many are kept. Those that say the same are one.
const KEPT: usize = 5;
/// The longest text of one, in bytes.
const LONGEST: usize = 160;
/// The fields that are kept with the message. Others may name people, or have what they wrote.
const FIELDS: [&str; 6] = ["channel", "error", "partition", "region", "task", "topic"];
/// What is said about single accounts is not for those who watch the program.
const PRIVATE: &str = "audit";

/// A warning or an error that was logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The last time.
    pub at: Timestamp,
    pub is_error: bool,
    pub text: String,
    /// How often.
    pub count: u64,
}

/// The newest warnings and errors. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Troubles(Arc<Mutex<VecDeque<Trouble>>>);

/// The region of a span.
struct SpanRegion(String);

impl Troubles {
    /// The newest, the oldest first.
    pub fn newest(&self) -> Vec<Trouble> {
        self.0.lock().expect("nobody panics while holding it").iter().cloned().collect()
    }

    fn add(&self, at: Timestamp, is_error: bool, text: String) {
        let mut kept = self.0.lock().expect("nobody panics while holding it");
        let known = kept.iter().position(|it| it.is_error == is_error && it.text == text);
        let before = known.and_then(|known| kept.remove(known)).map_or(0, |it| it.count);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Trouble { at, is_error, text, count: before + 1 });
    }
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for Troubles {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut text = Text::default();
        attributes.record(&mut text);
        if let (Some(region), Some(span)) = (text.region, context.span(id)) {
            span.extensions_mut().insert(SpanRegion(region));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        if level > Level::WARN || target == PRIVATE {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        if text.region.is_none() {
            let region = |span: tracing_subscriber::registry::SpanRef<'_, S>| {
                span.extensions().get::<SpanRegion>().map(|region| region.0.clone())
            };
            if let Some(region) = context.event_scope(event).and_then(|mut scope| scope.find_map(region)) {
                text.add("region", &region);
            }
        }
        self.add(crate::now(), level == Level::ERROR, text.joined());
    }
}

/// An event's message and some of its fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
    region: Option<String>,
}

impl Text {
    fn add(&mut self, name: &str, value: &str) {
        match name {
            "message" => self.message.push_str(value),
            // Writing to a string can't fail.
            name if FIELDS.contains(&name) => drop(write!(self.fields, " {name}={value}")),
            _ => {}
        }
        if name == "region" {
            self.region = Some(value.to_owned());
        }
    }

    fn joined(self) -> String {
        let mut text = (self.message + &self.fields).replace(char::is_control, " ");
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
        self.add(field.name(), &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value);
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
                tracing::warn!("old {n}");
            }
            let span = tracing::error_span!("board", region = "uk");
            let _in_span = span.enter();
            for user in ["u1", "u2"] {
                tracing::warn!(topic = "odds.uk", user, error = %"no\nanswer", "the topic can't be read");
            }
            tracing::error!("ä{}", "x".repeat(2 * LONGEST));
        });
        let newest = troubles.newest();
        assert_eq!(newest.len(), KEPT);
        let both = &newest[KEPT - 2];
        assert_eq!(both.text, "the topic can't be read topic=odds.uk error=no answer region=uk");
        assert_eq!(both.count, 2, "they differ only by the user, who is not named");
        let last = &newest[KEPT - 1];
        assert!(last.is_error && last.text.len() <= LONGEST + '…'.len_utf8(), "{last:?}");
    }
}
