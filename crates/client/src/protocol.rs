//! What a client needs of Engine.IO 4 and Socket.IO 5, and no more: packets in, what they mean out.
//! It knows no socket and no clock, so it serves programs and the page alike.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// Until the server says how often it pings.
const FIRST_PATIENCE: Duration = Duration::from_secs(45);
/// Refusals that trying again doesn't help.
const FINAL: [&str; 3] = ["unauthenticated", "forbidden_origin", "bad_auth"];

/// What a packet means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing but that this packet is to be sent.
    Wants(String),
    /// We are let in.
    Welcome,
    /// Not let in, and why: `<code>: <text>`.
    Refused {
        reason: String,
        /// Another time it will be no other answer.
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
    /// Nothing that concerns us.
    Nothing,
}

/// A client's side, across all its connections.
#[derive(Clone, Debug)]
pub struct Protocol {
    requests: u64,
    patience: Duration,
    wait: Duration,
    reconnect: Reconnect,
}

/// Whether and when the gateway wants the client back.
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
    /// Takes a packet. `auth` is the JSON that the server is to know, should it ask now.
    pub fn hear(&mut self, packet: &str, auth: impl FnOnce() -> String) -> Heard {
        let (kind, rest) = packet.split_at_checked(1).unwrap_or_default();
        match (kind, rest.split_at_checked(1)) {
            ("0", _) => {
                self.met(rest);
                Heard::Wants(format!("40{}", auth()))
            }
            ("1", _) | ("4", Some(("1", _))) => Heard::Over,
            ("2", _) => Heard::Wants("3".into()),
            ("4", Some(("0", _))) => {
                self.wait = FIRST_WAIT;
                self.reconnect = Reconnect::Allowed;
                Heard::Welcome
            }
            ("4", Some(("2", event))) => match event_of(event) {
                Some((name, payload)) => {
                    if name == "bye" {
                        self.reconnect = after_bye(&payload);
                    }
                    Heard::Event { name, payload }
                }
                None => Heard::Nothing,
            },
            ("4", Some(("3", answer))) => answer_of(answer).unwrap_or(Heard::Nothing),
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
                Heard::Refused { reason, is_final }
            }
            _ => Heard::Nothing,
        }
    }

    fn met(&mut self, hello: &str) {
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

    /// The packet of an event that is to be answered, and the number that its answer will have.
    pub fn ask(&mut self, event: &str, data: &(impl Serialize + ?Sized)) -> (u64, String) {
        self.requests += 1;
        let event = serde_json::to_string(&(event, data)).expect("what is sent can be written");
        (self.requests, format!("42{}{event}", self.requests))
    }

    /// A server that is silent for longer is gone.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether the next wait may be cut short: the gateway didn't ask for it.
    pub fn may_hurry(&self) -> bool {
        self.reconnect == Reconnect::Allowed
    }

    /// How long to wait before connecting again: longer each time until we are let in, not as long as
    /// everybody else, and at least as long as the gateway asked for. `random` is from 0 to 1. Nothing
    /// if connecting again is no use: after a final refusal, or a `bye` without `retry_after_ms`.
    pub fn wait(&mut self, random: f64) -> Option<Duration> {
        let backoff = self.wait.mul_f64(0.5 + random / 2.0);
        let wait = match self.reconnect {
            Reconnect::Forbidden => return None,
            Reconnect::Allowed => backoff,
            Reconnect::NotBefore(retry_after) => backoff.max(retry_after),
        };
        // It was asked for once: the attempts after the next one need not wait for it again.
        self.reconnect = Reconnect::Allowed;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        Some(wait)
    }
}

/// A `bye` that can't be read names no time, either.
fn after_bye(payload: &str) -> Reconnect {
    #[derive(Deserialize)]
    struct Bye {
        retry_after_ms: Option<u64>,
    }
    let retry_after_ms = serde_json::from_str(payload).ok().and_then(|bye: Bye| bye.retry_after_ms);
    retry_after_ms.map_or(Reconnect::Forbidden, |millis| Reconnect::NotBefore(Duration::from_millis(millis)))
}

fn answer_of(text: &str) -> Option<Heard> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, answer) = text.split_at(digits);
    let (answer,): (&RawValue,) = serde_json::from_str(answer).ok()?;
    Some(Heard::Answer { number: number.parse().ok()?, answer: answer.get().to_owned() })
}

/// An event of Socket.IO as it is written in a packet: its name and its payload's JSON.
pub fn event_of(packet: &str) -> Option<(String, String)> {
    #[derive(Deserialize)]
    struct Event<'a>(String, #[serde(borrow)] &'a serde_json::value::RawValue);
    let Event(name, payload) = serde_json::from_str(packet).ok()?;
    Some((name, payload.get().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(packet: &str) -> Heard {
        Protocol::default().hear(packet, || r#"{"token":"x"}"#.into())
    }

    #[test]
    fn a_packet_is_a_name_and_a_payload() {
        assert_eq!(event_of(r#"["odds",{"a":1.90}]"#), Some(("odds".into(), r#"{"a":1.90}"#.into())));
        assert_eq!(event_of("[1]"), None);
    }

    #[test]
    fn packets_mean_what_they_say() {
        let hello = r#"0{"sid":"a","upgrades":[],"pingInterval":2000,"pingTimeout":1000,"maxPayload":1}"#;
        assert_eq!(heard(hello), Heard::Wants(r#"40{"token":"x"}"#.into()));
        assert_eq!(heard("2"), Heard::Wants("3".into()));
        assert_eq!(heard(r#"40{"sid":"b"}"#), Heard::Welcome);
        let event = Heard::Event { name: "feed".into(), payload: r#"{"a":[1, 2]}"#.into() };
        assert_eq!(heard(r#"42["feed",{"a":[1, 2]}]"#), event);
        assert_eq!(heard(r#"4312[{"ok":true}]"#), Heard::Answer { number: 12, answer: r#"{"ok":true}"#.into() });
        assert_eq!((heard("41"), heard("1")), (Heard::Over, Heard::Over));
        for odd in ["", "4", "6", "42", "42{}", "43[1]", "4312", "4399999999999999999999[1]", "ä", "4ä"] {
            assert_eq!(heard(odd), Heard::Nothing, "{odd:?}");
        }
    }

    #[test]
    fn some_refusals_pass_and_others_do_not() {
        for (packet, is_final) in [
            (r#"44{"message":"unauthenticated: sign in"}"#, true),
            (r#"44{"message":"stopping: come back"}"#, false),
            ("44?", false),
        ] {
            assert!(matches!(heard(packet), Heard::Refused { is_final: it, .. } if it == is_final), "{packet}");
        }
    }

    #[test]
    fn who_is_not_let_in_waits_longer_each_time() {
        let mut protocol = Protocol::default();
        let waits: Vec<Option<u128>> = (0..7).map(|_| millis(&mut protocol, 1.0)).collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000].map(Some));
        protocol.hear("40{}", String::new);
        assert_eq!(millis(&mut protocol, 0.0), Some(250));
    }

    fn millis(protocol: &mut Protocol, random: f64) -> Option<u128> {
        protocol.wait(random).map(|wait| wait.as_millis())
    }

    #[test]
    fn a_bye_says_how_long_to_stay_away() {
        let mut protocol = Protocol::default();
        protocol.hear("40{}", String::new);
        let bye = protocol.hear(r#"42["bye",{"code":"stopping","message":"","retry_after_ms":3000}]"#, String::new);
        assert!(matches!(bye, Heard::Event { name, .. } if name == "bye"), "whoever cares hears of it");
        assert!(!protocol.may_hurry());
        assert_eq!(millis(&mut protocol, 0.0), Some(3_000), "never less");
        assert!(protocol.may_hurry());
        assert_eq!(millis(&mut protocol, 1.0), Some(1_000), "nobody was there: the next attempt is as usual");
        protocol.hear("40{}", String::new);
        protocol.hear(r#"42["bye",{"code":"stopping","message":"","retry_after_ms":20}]"#, String::new);
        assert_eq!(millis(&mut protocol, 1.0), Some(500), "a crowd that is sent away at once doesn't come at once");
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
            protocol.hear(packet, String::new);
            assert_eq!(protocol.wait(1.0), None, "{packet}");
            protocol.hear("40{}", String::new);
            assert_eq!(millis(&mut protocol, 1.0), Some(500), "let in all the same, it is as at first");
        }
        let mut protocol = Protocol::default();
        protocol.hear(r#"44{"message":"too_many_connections: this gateway is full"}"#, String::new);
        assert_eq!(millis(&mut protocol, 1.0), Some(500), "another time there may be room");
    }

    #[test]
    fn questions_are_numbered_and_patience_is_the_servers() {
        let mut protocol = Protocol::default();
        assert_eq!(protocol.ask("resync", &["uk"]), (1, r#"421["resync",["uk"]]"#.into()));
        assert_eq!(protocol.ask("resync", &["uk"]).0, 2);
        protocol.hear(r#"0{"pingInterval":2000,"pingTimeout":1000}"#, String::new);
        assert_eq!(protocol.patience().as_millis(), 3_000);
    }
}
