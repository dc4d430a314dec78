//! The part of Engine.IO 4 and Socket.IO 5 that a client needs. It takes packets and returns what they mean. It uses no
//! socket and no clock, so that both programs and the page can use it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// The patience until the server sends its ping interval.
const FIRST_PATIENCE: Duration = Duration::from_secs(45);
/// Codes of refusals after which reconnecting doesn't help.
const FINAL: [&str; 3] = ["unauthenticated", "forbidden_origin", "bad_auth"];

/// The meaning of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProtocolEvent {
    /// This packet has to be sent in reply.
    Reply(String),
    /// The gateway accepted the client.
    Welcome,
    /// The gateway refused the client, with the reason `<code>: <text>`.
    Refused {
        reason: String,
        /// Reconnecting doesn't help.
        is_final: bool,
    },
    Event {
        name: String,
        payload: String,
    },
    /// The answer to the request of this number, as JSON.
    Answer {
        number: u64,
        answer: String,
    },
    /// The connection is over.
    Over,
    /// The packet is unknown or malformed.
    Nothing,
}

/// The state of a client's protocol, across all its connections.
#[derive(Clone, Debug)]
pub struct Protocol {
    requests: u64,
    patience: Duration,
    wait: Duration,
    reconnect: Reconnect,
}

/// Whether and when the client may reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reconnect {
    Allowed,
    NotBefore(Duration),
    Forbidden,
}

impl Default for Protocol {
    fn default() -> Self {
        Self { requests: 0, patience: FIRST_PATIENCE, wait: FIRST_WAIT, reconnect: Reconnect::Allowed }
    }
}

impl Protocol {
    /// Takes a packet. `auth` returns the JSON to sign in with, and is called if the packet asks for it.
    pub fn receive(&mut self, packet: &str, auth: impl FnOnce() -> String) -> ProtocolEvent {
        let (kind, rest) = packet.split_at_checked(1).unwrap_or_default();
        match (kind, rest.split_at_checked(1)) {
            ("0", _) => {
                self.note_ping_interval(rest);
                ProtocolEvent::Reply(format!("40{}", auth()))
            }
            ("1", _) | ("4", Some(("1", _))) => ProtocolEvent::Over,
            ("2", _) => ProtocolEvent::Reply("3".into()),
            ("4", Some(("0", _))) => {
                self.wait = FIRST_WAIT;
                self.reconnect = Reconnect::Allowed;
                ProtocolEvent::Welcome
            }
            ("4", Some(("2", event))) => match event_of(event) {
                Some((name, payload)) => {
                    if name == "bye" {
                        self.reconnect = after_bye(&payload);
                    }
                    ProtocolEvent::Event { name, payload }
                }
                None => ProtocolEvent::Nothing,
            },
            ("4", Some(("3", answer))) => answer_of(answer).unwrap_or(ProtocolEvent::Nothing),
            ("4", Some(("4", refusal))) => {
                #[derive(Deserialize)]
                struct Refusal {
                    message: String,
                }
                let reason =
                    serde_json::from_str(refusal).map_or_else(|_| refusal.to_owned(), |it: Refusal| it.message);
                let is_final = FINAL.iter().any(|code| reason.starts_with(code));
                if is_final {
                    self.reconnect = Reconnect::Forbidden;
                }
                ProtocolEvent::Refused { reason, is_final }
            }
            _ => ProtocolEvent::Nothing,
        }
    }

    fn note_ping_interval(&mut self, hello: &str) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Hello {
            ping_interval: u64,
            ping_timeout: u64,
        }
        if let Ok(hello) = serde_json::from_str::<Hello>(hello) {
            self.patience = Duration::from_millis(hello.ping_interval + hello.ping_timeout);
        }
    }

    /// Returns the number that the answer to an event will have, and the event's packet.
    pub fn ask(&mut self, event: &str, data: &(impl Serialize + ?Sized)) -> (u64, String) {
        self.requests += 1;
        let event = serde_json::to_string(&(event, data)).expect("requests are plain values");
        (self.requests, format!("42{}{event}", self.requests))
    }

    /// How long the server may be silent before the connection is considered lost.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether the next wait may be cut short, because the gateway did not ask for it.
    pub fn may_hurry(&self) -> bool {
        self.reconnect == Reconnect::Allowed
    }

    /// How long to wait before reconnecting: exponential backoff until the gateway accepts the client, with jitter, and
    /// at least as long as the gateway asked for. `random` is from 0 to 1. `None` if reconnecting doesn't help: after a
    /// final refusal, or a `bye` without `retry_after_ms`.
    pub fn wait(&mut self, random: f64) -> Option<Duration> {
        let backoff = self.wait.mul_f64(0.5 + random / 2.0);
        let wait = match self.reconnect {
            Reconnect::Forbidden => return None,
            Reconnect::Allowed => backoff,
            Reconnect::NotBefore(retry_after) => backoff.max(retry_after),
        };
        // What the gateway asked for applies to one attempt only.
        self.reconnect = Reconnect::Allowed;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        Some(wait)
    }
}

/// A malformed `bye` counts as one without `retry_after_ms`.
fn after_bye(payload: &str) -> Reconnect {
    #[derive(Deserialize)]
    struct Bye {
        retry_after_ms: Option<u64>,
    }
    let retry_after_ms = serde_json::from_str(payload).ok().and_then(|bye: Bye| bye.retry_after_ms);
    retry_after_ms.map_or(Reconnect::Forbidden, |millis| Reconnect::NotBefore(Duration::from_millis(millis)))
}

fn answer_of(text: &str) -> Option<ProtocolEvent> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, answer) = text.split_at(digits);
    let (answer,): (&RawValue,) = serde_json::from_str(answer).ok()?;
    Some(ProtocolEvent::Answer { number: number.parse().ok()?, answer: answer.get().to_owned() })
}

/// Parses a Socket.IO event: returns its name and the JSON of its payload.
pub fn event_of(packet: &str) -> Option<(String, String)> {
    #[derive(Deserialize)]
    struct Event<'a>(String, #[serde(borrow)] &'a serde_json::value::RawValue);
    let Event(name, payload) = serde_json::from_str(packet).ok()?;
    Some((name, payload.get().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(packet: &str) -> ProtocolEvent {
        Protocol::default().receive(packet, || r#"{"token":"x"}"#.into())
    }

    #[test]
    fn a_packet_is_a_name_and_a_payload() {
        assert_eq!(event_of(r#"["odds",{"a":1.90}]"#), Some(("odds".into(), r#"{"a":1.90}"#.into())));
        assert_eq!(event_of("[1]"), None);
    }

    #[test]
    fn packets_are_parsed() {
        let hello = r#"0{"sid":"a","upgrades":[],"pingInterval":2000,"pingTimeout":1000,"maxPayload":1}"#;
        assert_eq!(received(hello), ProtocolEvent::Reply(r#"40{"token":"x"}"#.into()));
        assert_eq!(received("2"), ProtocolEvent::Reply("3".into()));
        assert_eq!(received(r#"40{"sid":"b"}"#), ProtocolEvent::Welcome);
        let event = ProtocolEvent::Event { name: "feed".into(), payload: r#"{"a":[1, 2]}"#.into() };
        assert_eq!(received(r#"42["feed",{"a":[1, 2]}]"#), event);
        assert_eq!(
            received(r#"4312[{"ok":true}]"#),
            ProtocolEvent::Answer { number: 12, answer: r#"{"ok":true}"#.into() }
        );
        assert_eq!((received("41"), received("1")), (ProtocolEvent::Over, ProtocolEvent::Over));
        for odd in ["", "4", "6", "42", "42{}", "43[1]", "4312", "4399999999999999999999[1]", "ä", "4ä"] {
            assert_eq!(received(odd), ProtocolEvent::Nothing, "{odd:?}");
        }
    }

    #[test]
    fn some_refusals_are_final() {
        for (packet, is_final) in [
            (r#"44{"message":"unauthenticated: sign in"}"#, true),
            (r#"44{"message":"stopping: come back"}"#, false),
            ("44?", false),
        ] {
            assert!(
                matches!(received(packet), ProtocolEvent::Refused { is_final: it, .. } if it == is_final),
                "{packet}"
            );
        }
    }

    #[test]
    fn waits_grow_until_the_client_is_accepted() {
        let mut protocol = Protocol::default();
        let waits: Vec<Option<u128>> = (0..7).map(|_| millis(&mut protocol, 1.0)).collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000].map(Some));
        protocol.receive("40{}", String::new);
        assert_eq!(millis(&mut protocol, 0.0), Some(250));
    }

    fn millis(protocol: &mut Protocol, random: f64) -> Option<u128> {
        protocol.wait(random).map(|wait| wait.as_millis())
    }

    #[test]
    fn a_bye_sets_the_shortest_wait() {
        let mut protocol = Protocol::default();
        protocol.receive("40{}", String::new);
        let bye = protocol.receive(r#"42["bye",{"code":"stopping","message":"","retry_after_ms":3000}]"#, String::new);
        assert!(matches!(bye, ProtocolEvent::Event { name, .. } if name == "bye"), "it is an event, too");
        assert!(!protocol.may_hurry());
        assert_eq!(millis(&mut protocol, 0.0), Some(3_000), "never less");
        assert!(protocol.may_hurry());
        assert_eq!(millis(&mut protocol, 1.0), Some(1_000), "the attempt after it has the usual backoff");
        protocol.receive("40{}", String::new);
        protocol.receive(r#"42["bye",{"code":"stopping","message":"","retry_after_ms":20}]"#, String::new);
        assert_eq!(millis(&mut protocol, 1.0), Some(500), "clients that were sent away together don't return together");
    }

    #[test]
    fn a_bye_without_a_time_and_a_final_refusal_are_the_end() {
        for packet in [
            r#"42["bye",{"code":"signed_out","message":"the session or token is over"}]"#,
            r#"42["bye",{"code":"signed_out","message":"","retry_after_ms":null}]"#,
            r#"42["bye",7]"#,
            r#"44{"message":"unauthenticated: sign in"}"#,
        ] {
            let mut protocol = Protocol::default();
            protocol.receive(packet, String::new);
            assert_eq!(protocol.wait(1.0), None, "{packet}");
            protocol.receive("40{}", String::new);
            assert_eq!(millis(&mut protocol, 1.0), Some(500), "a client that is accepted starts over");
        }
        let mut protocol = Protocol::default();
        protocol.receive(r#"44{"message":"too_many_connections: this gateway is full"}"#, String::new);
        assert_eq!(millis(&mut protocol, 1.0), Some(500), "there may be room later");
    }

    #[test]
    fn requests_are_numbered_and_the_server_sets_the_patience() {
        let mut protocol = Protocol::default();
        assert_eq!(protocol.ask("resync", &["uk"]), (1, r#"421["resync",["uk"]]"#.into()));
        assert_eq!(protocol.ask("resync", &["uk"]).0, 2);
        protocol.receive(r#"0{"pingInterval":2000,"pingTimeout":1000}"#, String::new);
        assert_eq!(protocol.patience().as_millis(), 3_000);
    }
}
