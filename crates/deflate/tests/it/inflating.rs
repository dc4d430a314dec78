use deflate::{BadFrame, Inflater};
use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

use crate::frames::{CONTINUE, PING, TEXT, client_frame, compressed, frames};

const MOST: usize = 16_384;
const MASK: [u8; 4] = [1, 2, 3, 4];

fn read(bytes: &[u8]) -> Result<Vec<u8>, BadFrame> {
    let mut out = Vec::new();
    Inflater::default().read(bytes, MOST, &mut out).map(|()| out)
}

/// A compressed message in frames of these lengths, with a ping before each frame but the first.
fn fragments(message: &[u8], lengths: &[usize], mask: [u8; 4]) -> Vec<u8> {
    let compressed = compressed(message);
    let (mut left, mut bytes) = (&*compressed, Vec::new());
    for (number, length) in lengths.iter().copied().chain([usize::MAX]).enumerate() {
        let (payload, rest) = left.split_at(length.min(left.len()));
        let is_first = number == 0;
        if !is_first {
            bytes.extend(client_frame(PING, false, true, mask, b"?"));
        }
        let opcode = if is_first { TEXT } else { CONTINUE };
        bytes.extend(client_frame(opcode, is_first, number == lengths.len(), mask, payload));
        left = rest;
    }
    bytes
}

proptest! {
    #[test]
    fn messages_are_the_same_however_they_are_compressed_and_cut(
        messages in prop::collection::vec(("[a-z ]{0,300}", prop::collection::vec(0..40usize, 0..4), any::<bool>()), 1..6),
        mask: [u8; 4],
        cut in 1..50usize,
    ) {
        let mut bytes = Vec::new();
        for (message, lengths, is_compressed) in &messages {
            match is_compressed {
                true => bytes.extend(fragments(message.as_bytes(), lengths, mask)),
                false => bytes.extend(client_frame(TEXT, false, true, mask, message.as_bytes())),
            }
        }
        let (mut inflater, mut out) = (Inflater::default(), Vec::new());
        for piece in bytes.chunks(cut) {
            inflater.read(piece, MOST, &mut out).unwrap();
        }
        prop_assert!(inflater.is_between_messages());
        let frames = frames(&out);
        let texts: Vec<_> = frames.iter().filter(|(first, _)| *first == 0x81).map(|(_, payload)| payload).collect();
        prop_assert_eq!(texts, messages.iter().map(|(message, _, _)| message.as_bytes()).collect::<Vec<_>>());
        let pings: usize = messages.iter().filter(|(_, _, is_compressed)| *is_compressed).map(|(_, lengths, _)| lengths.len()).sum();
        prop_assert_eq!(frames.iter().filter(|(first, _)| *first == 0x89).count(), pings);
    }

    #[test]
    fn what_is_not_compressed_passes_as_it_is(bytes: Vec<u8>, cut in 1..50usize) {
        // Without frames that say that they are compressed, or an opcode that nobody knows.
        let bytes = client_frame(TEXT, false, true, MASK, &bytes);
        let (mut inflater, mut out) = (Inflater::default(), Vec::new());
        for piece in bytes.chunks(cut) {
            inflater.read(piece, 0, &mut out).unwrap();
        }
        prop_assert_eq!(out, bytes);
    }

    #[test]
    fn whatever_comes_nothing_grows_without_limit(bytes: Vec<u8>, cut in 1..50usize) {
        let (mut inflater, mut out) = (Inflater::default(), Vec::new());
        for piece in bytes.chunks(cut) {
            if inflater.read(piece, 1_000, &mut out).is_err() {
                break;
            }
        }
        // At least two bytes of the client's for each message.
        prop_assert!(out.len() <= bytes.len() / 2 * 1_014 + bytes.len());
    }
}

#[test]
fn a_message_that_ends_with_a_last_block_is_read() {
    let mut last = Vec::with_capacity(1_000);
    Compress::new(Compression::fast(), false)
        .compress_vec(b"42[\"resync\"]", &mut last, FlushCompress::Finish)
        .unwrap();
    // As RFC 7692 has it, section 7.2.3.4.
    last.push(0);
    let out = read(&client_frame(TEXT, true, true, MASK, &last)).unwrap();
    assert_eq!(frames(&out), [(0x81, b"42[\"resync\"]".to_vec())]);
}

#[test]
fn a_message_that_becomes_too_large_is_refused() {
    let zeros = compressed(&vec![b'0'; 16_000]);
    assert_eq!(read(&client_frame(TEXT, true, true, MASK, &zeros)), Err(BadFrame::TooLarge), "by its ratio");
    let numbers: String = (0..16_000).map(|it| (it * 7_919 % 10).to_string()).collect();
    assert!(read(&client_frame(TEXT, true, true, MASK, &compressed(&numbers.as_bytes()[..4_096]))).is_ok());
    let random: Vec<u8> = (0..MOST + 1).map(|_| rand::random::<u8>() % 16).collect();
    assert_eq!(read(&client_frame(TEXT, true, true, MASK, &compressed(&random))), Err(BadFrame::TooLarge));
    assert!(read(&client_frame(TEXT, true, true, MASK, &compressed(&random[..MOST]))).is_ok());
    let (first, rest) = (client_frame(TEXT, true, false, MASK, &[7; 9_000]), [7; 9_000]);
    let last = client_frame(CONTINUE, false, true, MASK, &rest);
    assert_eq!(read(&[first, last].concat()), Err(BadFrame::TooLarge), "in two frames");
    let mut header = client_frame(TEXT, true, true, MASK, &[0; 70_000]);
    header.truncate(14);
    assert_eq!(read(&header), Err(BadFrame::TooLarge), "before it has come");
}

#[test]
fn compressed_frames_in_wrong_places_are_refused() {
    let message = compressed(b"42[]");
    for (what, bytes) in [
        ("a control frame", client_frame(PING, true, true, MASK, b"?")),
        ("a continuation of nothing", client_frame(CONTINUE, true, true, MASK, &message)),
        (
            "a second beginning",
            [client_frame(TEXT, true, false, MASK, &message), client_frame(TEXT, true, true, MASK, &message)].concat(),
        ),
        (
            "another message in the middle",
            [client_frame(TEXT, true, false, MASK, &message), client_frame(TEXT, false, true, MASK, b"2")].concat(),
        ),
        ("with another extension's bit", vec![0xe1, 0x81, 0, 0, 0, 0, 0]),
    ] {
        assert_eq!(read(&bytes), Err(BadFrame::Unexpected), "{what}");
    }
    let unmasked = read(&[&[0xc1, message.len() as u8], &*message].concat()).unwrap();
    assert_eq!(unmasked, b"\x81\x0442[]", "whoever reads it refuses it");
    assert_eq!(read(&client_frame(TEXT, true, true, MASK, &[0xff; 20])), Err(BadFrame::Corrupt));
    assert_eq!(
        read(&client_frame(TEXT, true, true, MASK, &message[..0])).map(|out| frames(&out).len()),
        Ok(1),
        "empty"
    );
}
