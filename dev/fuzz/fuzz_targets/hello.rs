//! Whatever a client sends when it connects, parsing doesn't panic, and an error names its field.

#![no_main]

use libfuzzer_sys::fuzz_target;
use odds::{Hello, read_regions};

fuzz_target!(|data: &[u8]| {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) else { return };
    if let Err(error) = Hello::read(&value) {
        assert!(!error.field.is_empty());
    }
    let _ = read_regions(&value);
});
