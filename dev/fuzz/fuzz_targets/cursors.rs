//! A text that parses as a cursor is formatted as the same text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use odds::Cursor;

fuzz_target!(|text: &str| {
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string(), text);
    }
});
