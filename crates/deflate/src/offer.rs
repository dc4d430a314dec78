//! Negotiates the extension.

const NAME: &str = "permessage-deflate";
const WITHOUT_TAKEOVER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
/// The answer to a client that insists on naming the largest window, which is the one that is used anyway.
const WITH_THE_LARGEST_WINDOW: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15";

/// Answers the first offer that can be accepted, with the value of the response's `Sec-WebSocket-Extensions`. Returns
/// `None` if there is no such offer. `offers` are the values of the request's headers of that name.
pub fn answer_to<'a>(offers: impl IntoIterator<Item = &'a str>) -> Option<&'static str> {
    offers.into_iter().flat_map(|value| value.split(',')).find_map(answer)
}

/// Commas and semicolons in quoted values need no care: no value that is accepted contains one.
fn answer(offer: &str) -> Option<&'static str> {
    let mut parts = offer.split(';').map(str::trim);
    if parts.next() != Some(NAME) {
        return None;
    }
    let mut answer = WITHOUT_TAKEOVER;
    let mut seen = Vec::new();
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquoted(value.trim()))),
            None => (part, None),
        };
        match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits", None) => {}
            // A client's smaller window costs nothing here.
            ("client_max_window_bits", Some("8" | "9" | "10" | "11" | "12" | "13" | "14" | "15")) => {}
            ("server_max_window_bits", Some("15")) => answer = WITH_THE_LARGEST_WINDOW,
            // Frames are shared by many connections, so none can have a smaller window.
            _ => return None,
        }
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
    }
    Some(answer)
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_that_can_be_met_is_accepted() {
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate ; client_max_window_bits = \"12\";server_no_context_takeover",
            "x-webkit-deflate-frame, permessage-deflate; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
        ] {
            assert_eq!(answer_to([offer]), Some(WITHOUT_TAKEOVER), "{offer}");
        }
        assert_eq!(answer_to(["permessage-deflate; server_max_window_bits=15"]), Some(WITH_THE_LARGEST_WINDOW));
        assert_eq!(answer_to(["bbf-usp-protocol", "permessage-deflate"]), Some(WITHOUT_TAKEOVER), "a second header");
    }

    #[test]
    fn an_offer_that_can_not_be_met_is_declined() {
        for offer in [
            "",
            ",;=,",
            "permessage-bzip2",
            "Permessage-Deflate2",
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=08",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; unknown",
            "permessage-deflate;",
        ] {
            assert_eq!(answer_to([offer]), None, "{offer:?}");
        }
        assert_eq!(answer_to([]), None);
    }
}
