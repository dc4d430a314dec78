//! Whatever a topic contains, the reader doesn't panic, and a record is equal after writing and parsing it again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use odds::{Headers, Reader, Record};

fuzz_target!(|data: &[u8]| {
    // The input is split at zero bytes into term, step, key and value of each record, for two partitions in turn.
    let mut pieces = data.split(|byte| *byte == 0);
    let mut reader = Reader::new(&[3, 3]);
    let mut offsets = [0i64; 2];
    for n in 0.. {
        let Some(term) = pieces.next() else { break };
        let (step, key, value) = (pieces.next(), pieces.next(), pieces.next().filter(|value| !value.is_empty()));
        let headers = Headers { v: Some(&b"1"[..]), term: Some(term), step };
        let Ok(record) = Record::read(headers, key, value) else { continue };
        let written = record.headers();
        let again = Headers {
            v: Some(written.v.as_bytes()),
            term: Some(written.term.as_bytes()),
            step: Some(written.step.as_bytes()),
        };
        let text = record.value();
        let same = Record::read(again, Some(record.key().as_bytes()), text.as_deref().map(str::as_bytes));
        assert_eq!(same.as_ref(), Ok(&record));
        let partition = n % 2;
        reader.read(partition, offsets[partition as usize], record);
        offsets[partition as usize] += 1;
    }
});
