//! Whatever a gateway sends, a client doesn't panic, and uses only cursors that it received.

#![no_main]

use libfuzzer_sys::fuzz_target;
use client::{BoardMirrors, event_of};

fuzz_target!(|data: &str| {
    let mut mirrors = BoardMirrors::default();
    mirrors.take("subscriptions", r#"{"v":1,"regions":["us","uk","eu","au"]}"#);
    for packet in data.lines() {
        if let Some((name, payload)) = event_of(packet) {
            mirrors.take(&name, &payload);
        }
    }
    for cursor in mirrors.cursors().values() {
        assert!(data.contains(&cursor.to_string()));
    }
});
