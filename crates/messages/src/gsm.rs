//! How many characters fit into one SMS.
//!
//! A text of the GSM alphabet has 160 characters in one segment. A single character outside of it, as a curly quote,
//! makes the whole text UTF-16, of which 70 units fit.

const GSM_LENGTH: usize = 160;
const UTF16_LENGTH: usize = 70;
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// These take the place of two.
const EXTENDED: &str = "\u{c}^{}\\[~]|€";
const END: &str = "...";

/// Whether the text fits into one segment.
pub(crate) fn fits_one_segment(text: &str) -> bool {
    match gsm_length(text) {
        Some(length) => length <= GSM_LENGTH,
        None => text.encode_utf16().count() <= UTF16_LENGTH,
    }
}

/// The length in the GSM alphabet; `None` if a character is not in it.
fn gsm_length(text: &str) -> Option<usize> {
    text.chars().map(|it| if BASIC.contains(it) { Some(1) } else { EXTENDED.contains(it).then_some(2) }).sum()
}

/// The longest beginning of the text that fits into one segment, with dots at its end if something is left out.
pub(crate) fn one_segment(text: &str) -> String {
    if fits_one_segment(text) {
        return text.to_owned();
    }
    // Nothing longer can fit.
    let mut kept: Vec<char> = text.chars().take(GSM_LENGTH).collect();
    loop {
        let shortened = format!("{}{END}", kept.iter().collect::<String>().trim_end());
        if fits_one_segment(&shortened) {
            return shortened;
        }
        kept.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_character_outside_of_the_alphabet_more_than_halves_the_segment() {
        assert!(fits_one_segment(&"a".repeat(160)) && !fits_one_segment(&"a".repeat(161)));
        assert!(fits_one_segment(&"€".repeat(80)) && !fits_one_segment(&"€".repeat(81)));
        assert!(fits_one_segment(&"→".repeat(70)) && !fits_one_segment(&"→".repeat(71)));
        assert!(!fits_one_segment(&format!("→{}", "a".repeat(70))));
        // An emoji takes two units.
        assert!(fits_one_segment(&"🎉".repeat(35)) && !fits_one_segment(&"🎉".repeat(36)));
    }

    #[test]
    fn a_long_text_is_cut_to_one_segment() {
        assert_eq!(one_segment("short"), "short");
        assert_eq!(one_segment(&"a".repeat(200)), format!("{}...", "a".repeat(157)));
        assert_eq!(one_segment(&"→".repeat(200)), format!("{}...", "→".repeat(67)));
        assert_eq!(one_segment(&format!("a →{}", "b".repeat(200))), format!("a →{}...", "b".repeat(64)));
        // Where the character that costs most is behind the end, it costs nothing.
        let text = format!("{}→", "a".repeat(170));
        assert_eq!(one_segment(&text), format!("{}...", "a".repeat(157)));
    }
}
