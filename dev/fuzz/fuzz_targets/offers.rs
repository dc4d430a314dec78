//! Whatever a client offers, the answer is one that any client understands.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    if let Some(answer) = deflate::answer_to(data.lines()) {
        assert!(data.contains("permessage-deflate"));
        assert_eq!(deflate::answer_to([answer]), Some(answer), "an answer is an offer that can be met");
    }
});
