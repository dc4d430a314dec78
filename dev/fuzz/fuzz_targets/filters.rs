//! An accepted filter is equal after serializing and parsing it again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use odds::Filter;

fuzz_target!(|data: &[u8]| {
    let Ok(value) = serde_json::from_slice(data) else { return };
    if let Ok(filter) = Filter::from_value(&value) {
        let written = serde_json::to_value(&filter).expect("plain lists");
        assert_eq!(Filter::from_value(&written).as_ref(), Ok(&filter));
    }
});
