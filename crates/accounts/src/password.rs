//! Passwords: which are strong enough, and their hashes.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{self, Output, Salt},
};
use prometheus_client::metrics::counter::Counter;
use tokio::{sync::Semaphore, time::timeout};
use zxcvbn::{Score, zxcvbn};

use crate::{secret, user_name::UserName};

const SHORTEST: usize = 12;
const LONGEST: usize = 128;

/// OWASP's recommendation for argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1_024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;

/// How many requests may wait for a password to be hashed, and how long.
const WAITING: usize = 256;
const WAIT_AT_MOST: Duration = Duration::from_secs(10);

/// A password that is strong enough for a user.
#[derive(Clone)]
pub struct Password(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    #[error("has to have at least {SHORTEST} characters")]
    Short,
    #[error("may have at most {LONGEST} characters")]
    Long,
    #[error("{0}")]
    Guessable(String),
}

impl Password {
    pub fn new(text: &str, name: &UserName) -> Result<Self, WeakPassword> {
        let length = text.chars().count();
        if length < SHORTEST {
            return Err(WeakPassword::Short);
        }
        if length > LONGEST {
            return Err(WeakPassword::Long);
        }
        let guess = zxcvbn(text, &[name.key(), "toteboard"]);
        if guess.score() < Score::Two {
            let warning =
                guess.feedback().and_then(zxcvbn::feedback::Feedback::warning).map(|warning| warning.to_string());
            return Err(WeakPassword::Guessable(warning.map_or_else(
                || "is too easy to guess".to_owned(),
                |warning| format!("is too easy to guess: {}", warning.trim_end_matches('.').to_lowercase()),
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl Password {
    /// A random password, for an account that an operator or a program makes.
    pub fn random() -> Self {
        Self(secret::random_text::<12>())
    }

    /// The text, to show it to an owner who did not choose it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// The hash of a password, with its salt and parameters.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// A hash as a store has it.
    pub fn stored(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// Too many passwords are waiting to be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many sign-ins at once")]
pub struct Busy;

/// The result of comparing a password with a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Wrong,
    Right,
    /// Right, but the hash was made with other parameters than today's: this is the new one.
    RightRehashed(PasswordHash),
}

/// Hashes passwords, a few at a time, so that a flood of sign-ins leaves processors for the stream.
#[derive(Clone)]
pub(crate) struct Passwords {
    hasher: Hasher,
    /// The hash of a random text, compared with where there is no user, so that both take the same time.
    dummy: PasswordHash,
    places: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Hasher {
    argon: Argon2<'static>,
    /// Buffers of finished hashes, to be used again: allocating and freeing blocks of this size again and again
    /// fragments the heap. There are never more buffers than were in use at the same time.
    memory: Arc<Mutex<Vec<Vec<Block>>>>,
    /// How often a password was hashed, to store or to compare it.
    hashed: Counter,
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Passwords {
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with(Params::new(MEMORY_KIB, PASSES, LANES, None).expect("valid parameters"), (processors / 2).max(1))
    }

    fn with(params: Params, at_once: usize) -> Self {
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hasher = Hasher { argon, memory: Arc::default(), hashed: Counter::default() };
        let dummy = hasher.hash(&secret::random_text::<16>());
        Self { hasher, dummy, places: Arc::new(Semaphore::new(at_once)), waiting: Arc::default() }
    }

    pub(crate) fn counting(mut self, hashed: Counter) -> Self {
        self.hasher.hashed = hashed;
        self
    }

    pub(crate) async fn hash(&self, password: &Password) -> Result<PasswordHash, Busy> {
        let (hasher, password) = (self.hasher.clone(), password.clone());
        self.work(move || hasher.hash(&password.0)).await
    }

    /// Compares with a user's hash, or with another one if there is no user: both take the same time.
    pub(crate) async fn verify(&self, password: &str, hash: Option<&PasswordHash>) -> Result<Verdict, Busy> {
        let known = hash.is_some();
        let (hasher, password) = (self.hasher.clone(), password.to_owned());
        let against = hash.unwrap_or(&self.dummy).clone();
        self.work(move || {
            let right = hasher.matches(&password, &against);
            match right && known {
                false => Verdict::Wrong,
                true if hasher.is_current(&against) => Verdict::Right,
                true => Verdict::RightRehashed(hasher.hash(&password)),
            }
        })
        .await
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let waiting = Waiting(&self.waiting);
        if before >= WAITING {
            return Err(Busy);
        }
        let place = timeout(WAIT_AT_MOST, self.places.clone().acquire_owned()).await;
        let place = place.map_err(|_| Busy)?.expect("the semaphore is never closed");
        drop(waiting);
        let work = move || {
            let _place = place;
            work()
        };
        Ok(tokio::task::spawn_blocking(work).await.expect("hashing does not panic"))
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").finish_non_exhaustive()
    }
}

impl Hasher {
    fn hash(&self, password: &str) -> PasswordHash {
        self.hashed.inc();
        let salt = Salt::new(&rand::random::<[u8; SALT_BYTES]>()).expect("the length is valid");
        let output = self.output(&self.argon, password, &salt, Params::DEFAULT_OUTPUT_LEN);
        let hash = phc::PasswordHash {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params: self.argon.params().try_into().expect("valid parameters"),
            salt: Some(salt),
            hash: Some(output.expect("any text can be hashed")),
        };
        PasswordHash(hash.to_string())
    }

    fn matches(&self, password: &str, hash: &PasswordHash) -> bool {
        self.output_like(password, hash).is_some_and(|(expected, output)| {
            // `Output` is compared in constant time.
            expected == output
        })
    }

    /// The output in a hash, and the output of this password with the same salt and parameters. `None` if the hash
    /// can't be parsed: then no password matches it.
    fn output_like(&self, password: &str, hash: &PasswordHash) -> Option<(Output, Output)> {
        let hash = phc::PasswordHash::new(&hash.0).ok()?;
        let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
        let version = hash.version.map_or(Ok(Version::default()), Version::try_from).ok()?;
        let argon = Argon2::new(algorithm, version, Params::try_from(&hash).ok()?);
        let expected = hash.hash?;
        self.hashed.inc();
        Some((expected, self.output(&argon, password, &hash.salt?, expected.len())?))
    }

    fn output(&self, argon: &Argon2<'_>, password: &str, salt: &Salt, length: usize) -> Option<Output> {
        let free = || self.memory.lock().expect("no thread panics while holding the lock");
        let mut memory = free().pop().unwrap_or_default();
        memory.resize(argon.params().block_count(), Block::default());
        let mut buffer = [0; Output::MAX_LENGTH];
        let output = buffer.get_mut(..length)?;
        let done = argon.hash_password_into_with_memory(password.as_bytes(), salt, output, &mut memory[..]);
        free().push(memory);
        done.ok()?;
        Output::new(output).ok()
    }

    /// Whether the hash has today's algorithm and parameters.
    fn is_current(&self, hash: &PasswordHash) -> bool {
        let Ok(hash) = phc::PasswordHash::new(&hash.0) else { return false };
        let Ok(then) = Params::try_from(&hash) else { return false };
        let now = self.argon.params();
        hash.algorithm == Algorithm::Argon2id.ident()
            && (now.m_cost(), now.t_cost(), now.p_cost()) == (then.m_cost(), then.t_cost(), then.p_cost())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> UserName {
        "anna.smith".parse().unwrap()
    }

    #[test]
    fn short_and_common_passwords_are_refused_with_a_reason() {
        for (text, reason) in [
            ("elevenchars", "at least 12"),
            ("password1234", "easy to guess"),
            ("123456789012", "easy to guess"),
            ("qwertyuiopas", "easy to guess"),
            ("aaaaaaaaaaaa", "easy to guess"),
            ("anna.smith12", "easy to guess"),
            (&"x".repeat(129), "at most 128"),
        ] {
            let error = Password::new(text, &name()).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let (long, longest) = ("many words ".repeat(6), "no end of words ".repeat(8));
        assert!(long.len() > 64 && longest.len() == 128);
        for text in ["correct horse battery", "Zk4-vnq81-pp", "пароль-и-ещё-слово", &long, &longest] {
            Password::new(text, &name()).unwrap();
        }
        Password::new(Password::random().reveal(), &name()).unwrap();
    }

    #[tokio::test]
    async fn a_hash_fits_its_password_only() {
        let passwords = Passwords::new();
        let hash = passwords.hash(&Password("correct horse".into())).await.unwrap();
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.as_str());
        assert_eq!(passwords.verify("correct horse", Some(&hash)).await, Ok(Verdict::Right));
        assert_eq!(passwords.verify("correct horsf", Some(&hash)).await, Ok(Verdict::Wrong));
        assert_eq!(passwords.verify("correct horse", None).await, Ok(Verdict::Wrong));
        let broken = PasswordHash::stored("$2y$10$abc");
        assert_eq!(passwords.verify("correct horse", Some(&broken)).await, Ok(Verdict::Wrong));
    }

    #[tokio::test]
    async fn a_hash_of_other_parameters_is_made_anew() {
        let before = Passwords::with(Params::new(8 * 1_024, 1, 1, None).unwrap(), 1);
        let old = before.hash(&Password("correct horse".into())).await.unwrap();
        let passwords = Passwords::new();
        let Ok(Verdict::RightRehashed(new)) = passwords.verify("correct horse", Some(&old)).await else {
            panic!("a hash with old parameters is right, and replaced")
        };
        assert_eq!(passwords.verify("correct horse", Some(&new)).await, Ok(Verdict::Right));
        assert_eq!(passwords.verify("wrong horse", Some(&old)).await, Ok(Verdict::Wrong));
    }

    #[tokio::test]
    async fn an_unknown_user_costs_as_much_as_a_known_one() {
        let hashed = Counter::default();
        let passwords = Passwords::new().counting(hashed.clone());
        let hash = passwords.hash(&Password("correct horse".into())).await.unwrap();
        for (password, hash) in [("wrong horse", Some(&hash)), ("correct horse", Some(&hash)), ("correct horse", None)]
        {
            let before = hashed.get();
            passwords.verify(password, hash).await.unwrap();
            assert_eq!(hashed.get() - before, 1, "{password}, {hash:?}");
        }
        assert!(passwords.hasher.is_current(&passwords.dummy), "and each takes as long");
    }

    #[tokio::test]
    async fn a_bounded_number_waits() {
        let passwords = Passwords::with(Params::new(64, 1, 1, None).unwrap(), 1);
        let held = passwords.places.clone().acquire_owned().await.unwrap();
        let crowd: Vec<_> = (0..WAITING + 5)
            .map(|_| {
                let passwords = passwords.clone();
                tokio::spawn(async move { passwords.verify("x", None).await })
            })
            .collect();
        while passwords.waiting.load(Ordering::Acquire) < WAITING {
            tokio::task::yield_now().await;
        }
        drop(held);
        let mut answers = Vec::new();
        for one in crowd {
            answers.push(one.await.unwrap());
        }
        assert_eq!(answers.iter().filter(|answer| **answer == Err(Busy)).count(), 5);
    }
}
