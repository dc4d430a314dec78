//! Whatever a client sends on a websocket with compression, inflating it doesn't panic and stays within its limits, and
//! the result doesn't depend on how the network cuts the bytes.

#![no_main]

use deflate::Inflater;
use libfuzzer_sys::fuzz_target;

const MOST: usize = 1_000;
/// The longest header of a frame.
const HEADER: usize = 14;

fn inflated(bytes: &[u8], cut: usize) -> (bool, Vec<u8>) {
    let (mut inflater, mut out) = (Inflater::default(), Vec::new());
    let is_good = bytes.chunks(cut).all(|piece| inflater.read(piece, MOST, &mut out).is_ok());
    (is_good, out)
}

fuzz_target!(|data: &[u8]| {
    let whole = inflated(data, data.len().max(1));
    for cut in [1, 3, 64] {
        assert_eq!(inflated(data, cut), whole);
    }
    // A compressed message takes at least two bytes.
    assert!(whole.1.len() <= data.len() + data.len() / 2 * (MOST + HEADER));
});
