//! Values that must never be printed.

use std::{fmt, io};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;

/// How many random bytes a secret is made of: 128 bits.
const RANDOM: usize = 16;

/// How many random bytes a token is made of, which are 32 letters.
const TOKEN: usize = 24;

/// Text that is shown as `***` wherever it would be printed: an API key, a
/// database address with its password, a token.
#[derive(Clone)]
pub struct Secret(String);

/// Bytes that are shown as `***` wherever they would be printed: the key an
/// endpoint is signed with.
#[derive(Clone)]
pub struct SecretBytes(Vec<u8>);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A new one that nobody can guess: 32 hexadecimal digits.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn random() -> io::Result<Self> {
        Ok(Self(random_bytes::<RANDOM>()?.map(|byte| format!("{byte:02x}")).concat()))
    }

    /// A new one in the form of the existing server's tokens: 32 letters, digits, `-` and `_`.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn token() -> io::Result<Self> {
        Ok(Self(BASE64_URL_SAFE_NO_PAD.encode(random_bytes::<TOKEN>()?)))
    }

    /// The text itself, for the one place that has to send or store it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `presented` is this secret.
    ///
    /// The time taken tells nothing about the content, nor where the first
    /// difference is. It does tell whether the two lengths are equal: keys are
    /// random, and knowing how long one is does not help to guess it.
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(presented).into()
    }
}

impl SecretBytes {
    /// Hides `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes themselves, for the one place that signs with them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

fn random_bytes<const COUNT: usize>() -> io::Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(bytes)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_32_letters_and_never_the_same() {
        let (one, two) = (Secret::token().unwrap(), Secret::token().unwrap());
        assert_eq!(one.expose().len(), 32);
        assert_ne!(one.expose(), two.expose());
        assert!(one.expose().bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_'));
    }

    #[test]
    fn prints_stars_whatever_the_format() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {secret:#?} {:?}", Some(&secret)), "*** *** *** Some(***)");
        assert_eq!(format!("{:?}", SecretBytes::new(b"hunter2".to_vec())), "***");
    }

    #[test]
    fn matches_only_the_whole_text() {
        let secret = Secret::new("hunter2");
        for (presented, expected) in
            [("hunter2", true), ("hunter3", false), ("hunter", false), ("hunter22", false), ("", false)]
        {
            assert_eq!(secret.matches(presented.as_bytes()), expected, "{presented}");
        }
        assert_eq!(secret.expose(), "hunter2");
    }
}
