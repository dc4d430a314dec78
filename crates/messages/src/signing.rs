//! What only this installation can have made: links in messages, codes, and the key that signs both.

use std::{fmt, fs::OpenOptions, io, io::Write, path::Path};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use odds::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::MessageId;

const BYTES: usize = 32;

/// The key that signs links. All gateways and notifiers of an installation have the same one.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Vec<u8>);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// What a link allows whoever has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum Permit {
    /// To confirm that this e-mail address is the user's.
    Confirm { user: String, address: String },
    /// To choose another password, unless it was changed since.
    Password { user: String, epoch: u64 },
    /// To have no more alerts sent to the user's e-mail address.
    Unsubscribe { user: String },
}

#[derive(Serialize, Deserialize)]
struct Signed {
    #[serde(flatten)]
    permit: Permit,
    until: i64,
}

/// The link is not one of ours, or too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLink {
    #[error("this link is not complete")]
    Forged,
    #[error("this link is too old")]
    Expired,
}

impl SigningKey {
    pub fn random() -> Self {
        Self(rand::random::<[u8; BYTES]>().to_vec())
    }

    /// Reads the key from a file, which is created with a new one if it is missing.
    pub fn open(path: &Path) -> io::Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::read(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path, &URL_SAFE_NO_PAD.encode(Self::random().0))?;
                // Another program may have been faster.
                Self::read(&std::fs::read_to_string(path)?)
            }
            Err(error) => Err(error),
        }
    }

    fn read(text: &str) -> io::Result<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim()).ok().filter(|bytes| bytes.len() >= BYTES);
        bytes.map(Self).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "expected at least 32 random bytes in URL-safe base64")
        })
    }

    fn mac(&self, purpose: &str, text: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length will do");
        mac.update(purpose.as_bytes());
        mac.update(b"\n");
        mac.update(text.as_bytes());
        mac
    }

    /// A text that allows this until then.
    pub fn permit(&self, permit: &Permit, until: Timestamp) -> String {
        let signed = Signed { permit: permit.clone(), until: until.as_millis() };
        let text = URL_SAFE_NO_PAD.encode(serde_json::to_string(&signed).expect("plain values"));
        let signature = URL_SAFE_NO_PAD.encode(self.mac("link", &text).finalize().into_bytes());
        format!("{text}.{signature}")
    }

    pub fn check(&self, text: &str, now: Timestamp) -> Result<Permit, InvalidLink> {
        let (text, signature) = text.split_once('.').ok_or(InvalidLink::Forged)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| InvalidLink::Forged)?;
        self.mac("link", text).verify_slice(&signature).map_err(|_| InvalidLink::Forged)?;
        let signed = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidLink::Forged)?;
        let signed: Signed = serde_json::from_slice(&signed).map_err(|_| InvalidLink::Forged)?;
        if signed.until <= now.as_millis() { Err(InvalidLink::Expired) } else { Ok(signed.permit) }
    }

    /// The six digits that are sent to a phone number. The nonce is random, and different each time.
    pub fn code(&self, phone: &str, nonce: &str) -> String {
        let hash = self.mac("code", &format!("{phone} {nonce}")).finalize().into_bytes();
        let number = u64::from_be_bytes(hash[..8].try_into().expect("eight bytes"));
        format!("{:06}", number % 1_000_000)
    }
}

/// Creates the file whole, readable for its owner and group, unless it is there already.
fn create(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let part = folder.join(format!(".key-{:016x}", rand::random::<u64>()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    let mut file = options.open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    // Fails if there is a file of this name, as renaming does not.
    let linked = std::fs::hard_link(&part, path);
    std::fs::remove_file(&part)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Where the page is, and the key with which links to it are signed.
#[derive(Clone, Debug)]
pub struct Links {
    origin: String,
    key: SigningKey,
}

/// How long an address can be confirmed.
pub const CONFIRM_WITHIN_MS: i64 = 24 * 3_600_000;
/// How long a password can be chosen by a link.
pub const PASSWORD_WITHIN_MS: i64 = 3_600_000;
/// How long a code can be entered.
pub const CODE_WITHIN_MS: i64 = 10 * 60_000;
/// How long alerts can be unsubscribed from by an e-mail's link.
const UNSUBSCRIBE_WITHIN_MS: i64 = 365 * 24 * 3_600_000;

impl Links {
    /// The origin is that of the page, as `https://odds.example.com`.
    pub fn new(origin: &str, key: SigningKey) -> Self {
        Self { origin: origin.trim_end_matches('/').to_owned(), key }
    }

    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    pub fn page(&self) -> &str {
        &self.origin
    }

    fn link(&self, path: &str, permit: &Permit, until: Timestamp) -> String {
        format!("{}/links/{path}?token={}", self.origin, self.key.permit(permit, until))
    }

    pub(crate) fn confirm(&self, user: &str, address: &str, asked_at: Timestamp) -> String {
        let permit = Permit::Confirm { user: user.to_owned(), address: address.to_owned() };
        self.link("confirm", &permit, asked_at.plus_millis(CONFIRM_WITHIN_MS))
    }

    pub(crate) fn password(&self, user: &str, epoch: u64, asked_at: Timestamp) -> String {
        let permit = Permit::Password { user: user.to_owned(), epoch };
        self.link("password", &permit, asked_at.plus_millis(PASSWORD_WITHIN_MS))
    }

    pub(crate) fn unsubscribe(&self, user: &str, at: Timestamp) -> String {
        self.link("unsubscribe", &Permit::Unsubscribe { user: user.to_owned() }, at.plus_millis(UNSUBSCRIBE_WITHIN_MS))
    }

    /// Where a provider reports what became of the SMS with this message's id.
    pub(crate) fn sms_status(&self, id: &str) -> String {
        format!("{}{SMS_STATUS}/{}", self.origin, URL_SAFE_NO_PAD.encode(id))
    }
}

/// The path of reports about SMS. The id of a message follows.
pub const SMS_STATUS: &str = "/api/hooks/sms/status";

/// The id in the last part of such a path.
pub fn id_in_path(text: &str) -> Option<MessageId> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_000 * seconds)
    }

    #[test]
    fn a_link_is_valid_for_a_time_and_only_as_it_was_made() {
        let key = SigningKey::random();
        let permit = Permit::Password { user: "u1".into(), epoch: 3 };
        let text = key.permit(&permit, at(100));
        assert_eq!(key.check(&text, at(99)), Ok(permit.clone()));
        assert_eq!(key.check(&text, at(100)), Err(InvalidLink::Expired));
        assert_eq!(SigningKey::random().check(&text, at(99)), Err(InvalidLink::Forged));
        let (signed, signature) = text.split_once('.').unwrap();
        let other = URL_SAFE_NO_PAD.encode(r#"{"for":"password","user":"u2","epoch":3,"until":100000}"#);
        for forged in ["", ".", signed, &format!("{signed}."), &format!("{other}.{signature}"), &format!("{text}A")] {
            assert_eq!(key.check(forged, at(99)), Err(InvalidLink::Forged), "{forged}");
        }
    }

    #[test]
    fn a_code_is_of_one_number_and_one_request() {
        let key = SigningKey::random();
        let code = key.code("+447700900123", "n1");
        assert!(code.len() == 6 && code.bytes().all(|it| it.is_ascii_digit()));
        assert_eq!(key.code("+447700900123", "n1"), code);
        let others =
            [key.code("+447700900124", "n1"), key.code("+447700900123", "n2"), key.code("+447700900123", "n3")];
        assert!(others.iter().any(|other| *other != code));
    }

    #[test]
    fn programs_that_start_at_once_have_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys").join("signing.key");
        let keys: Vec<SigningKey> = std::thread::scope(|scope| {
            let open = [(); 8].map(|()| scope.spawn(|| SigningKey::open(&path).unwrap()));
            open.map(|it| it.join().unwrap()).into()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_eq!(std::fs::read_dir(folder.path().join("keys")).unwrap().count(), 1);
        std::fs::write(&path, "short").unwrap();
        assert!(SigningKey::open(&path).is_err());
    }
}
