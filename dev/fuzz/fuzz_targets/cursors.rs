//! A cursor is read as it was written, or not at all.

#![no_main]

use libfuzzer_sys::fuzz_target;
use odds::Cursor;

fuzz_target!(|text: &str| {
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string(), text);
    }
});
