//! Whatever a gateway says: a client keeps standing, and never has a cursor that it was not given.

#![no_main]

use libfuzzer_sys::fuzz_target;
use client::{Live, event_of};

fuzz_target!(|data: &str| {
    let mut live = Live::default();
    live.take("subscriptions", r#"{"v":1,"regions":["us","uk","eu","au"]}"#);
    for packet in data.lines() {
        if let Some((name, payload)) = event_of(packet) {
            live.take(&name, &payload);
        }
    }
    for cursor in live.cursors().values() {
        assert!(data.contains(&cursor.to_string()));
    }
});
