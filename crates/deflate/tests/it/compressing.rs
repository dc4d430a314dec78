use deflate::compressed_frame;
use proptest::prelude::*;

use crate::frames::{frames, inflated};

proptest! {
    #[test]
    fn a_compressed_frame_is_the_message(words in prop::collection::vec("[a-z]{1,9}|[0-9.]{1,5}", 200..4_000)) {
        let message = words.join(",");
        let frame = compressed_frame(message.as_bytes()).expect("few different letters");
        let frames = frames(&frame);
        let [(first, payload)] = &*frames else { panic!("{} frames", frames.len()) };
        prop_assert_eq!(*first, 0xc1, "final, compressed, text");
        prop_assert!(payload.len() < message.len());
        prop_assert_eq!(inflated(payload, message.len()), message.as_bytes());
    }
}

#[test]
fn what_does_not_get_shorter_is_not_compressed() {
    assert_eq!(compressed_frame(&[b'7'; 599]), None, "too short");
    assert!(compressed_frame(&[b'7'; 600]).is_some());
    let random: Vec<u8> = (0..10_000).map(|_| rand::random()).collect();
    assert_eq!(compressed_frame(&random), None);
}

#[test]
fn a_large_message_is_compressed_as_well() {
    let message: String = (0..300_000u64).map(|it| format!("{},", it * 7_919 % 10_007)).collect();
    let frame = compressed_frame(message.as_bytes()).unwrap();
    let [(_, payload)] = &*frames(&frame) else { panic!("one frame") };
    assert_eq!(inflated(payload, message.len()), message.as_bytes());
}
