//! Compresses large answers for those who take it.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, header};

/// The smallest answer that is compressed, in bytes.
pub(crate) const COMPRESS_FROM: usize = 1_024;

/// Whether a request with these headers takes a compressed answer.
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let refused = quality.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        matches!(name.trim(), "gzip" | "*") && !refused
    })
}

/// Takes milliseconds for a large answer: call it on a blocking thread.
pub(crate) fn compress(bytes: &[u8]) -> Vec<u8> {
    // The levels above take a third longer for a few percent less.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(3));
    encoder.write_all(bytes).expect("writing to memory");
    encoder.finish().expect("writing to memory")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn accepting(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))])
    }

    #[test]
    fn gzip_only_for_those_who_take_it() {
        for (value, takes) in
            [("gzip, br", true), ("br;q=1.0, gzip;q=0.8", true), ("*", true), ("br", false), ("gzip;q=0", false)]
        {
            assert_eq!(takes_gzip(&accepting(value)), takes, "{value}");
        }
    }
}
