//! The API keys: several may be valid at a time, so that one can be replaced without an outage.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use subtle::{ConditionallySelectable, ConstantTimeEq};

use crate::secret::Secret;

/// Most keys: each is compared with what every request presents.
pub const MAX_KEYS: usize = 64;

/// Longest key, in bytes: what is longer hardly fits into a request's head.
pub const MAX_LENGTH: usize = 4096;

/// What a key is called in logs: `api_key`, `api_keys[0]`, `api_key_file:3` after its line, or the name that it has there or in
/// `[[server.keys]]`. No part of the key. One pointer, since each request that waits holds one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName(Arc<String>);

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admin,
    /// List sandboxes, show them and read their logs.
    Reader,
}

/// Who presents a key, as far as that tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// What the key is called.
    pub name: KeyName,
    /// What it may do.
    pub role: Role,
}

/// The keys that are valid; with none, everyone may call.
#[derive(Debug, Clone, Default)]
pub struct Keys(Vec<Key>);

#[derive(Debug, Clone)]
struct Key {
    principal: Principal,
    secret: Secret,
}

/// The keys that are valid now. They can be exchanged while requests are served.
#[derive(Debug, Default)]
pub struct KeyRing(RwLock<Arc<Keys>>);

/// What a presented key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    /// There are no keys, so none is needed.
    Unneeded,
    /// This one's valid key.
    Valid(Principal),
    /// None of the keys.
    Invalid,
}

impl KeyName {
    /// The name `name`.
    pub fn new(name: &str) -> Self {
        Self(Arc::new(name.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admin => "admin",
            Self::Reader => "reader",
        })
    }
}

/// The name, and the role if it is not everything.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.role {
            Role::Admin => write!(f, "{}", self.name),
            Role::Reader => write!(f, "{} ({})", self.name, self.role),
        }
    }
}

/// Whether they are the same, under the same names, with the same roles and in the same order.
impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b): (&Key, &Key)| a.principal == b.principal && a.secret.matches(b.secret.expose().as_bytes());
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(same)
    }
}

impl Keys {
    /// The one key `secret`, which is called as that of the configuration is and may do everything.
    pub fn one(secret: Secret) -> Self {
        Self(vec![Key { principal: Principal { name: KeyName::new("api_key"), role: Role::Admin }, secret }])
    }

    /// Adds a key. The end of a line at its end, which files and shells leave there, is no part of it.
    ///
    /// # Errors
    ///
    /// There are too many, it is too long, or it is blank.
    pub fn add(&mut self, name: &str, role: Role, key: &str) -> Result<(), String> {
        let key = key.trim_end_matches(['\r', '\n']);
        if key.trim().is_empty() {
            return Err("must not be empty".to_owned());
        }
        if key.len() > MAX_LENGTH {
            return Err(format!("must have at most {MAX_LENGTH} bytes"));
        }
        if self.0.len() == MAX_KEYS {
            return Err(format!("there are more than {MAX_KEYS} keys"));
        }
        self.0.push(Key { principal: Principal { name: KeyName::new(name), role }, secret: Secret::new(key) });
        Ok(())
    }

    /// Whether there are none, so that everyone may call.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose they are.
    pub fn principals(&self) -> impl Iterator<Item = &Principal> {
        self.0.iter().map(|key| &key.principal)
    }

    /// Whether there are keys and none of them may change anything.
    pub fn is_read_only(&self) -> bool {
        !self.is_empty() && self.principals().all(|principal| principal.role == Role::Reader)
    }

    /// Whose key `presented` is. All are compared whatever comes: the time taken tells neither which it is, nor
    /// how far one agrees. It does tell whether a key of this length exists, see [`Secret::matches`].
    pub fn find(&self, presented: &[u8]) -> Option<&Principal> {
        const NONE: u32 = u32::MAX;
        let mut found = NONE;
        for (number, key) in (0..).zip(&self.0) {
            found.conditional_assign(&number, key.secret.expose().as_bytes().ct_eq(presented));
        }
        self.0.get(found as usize).map(|key| &key.principal)
    }
}

/// Whether a client can send this text as a key: a header's value neither begins nor ends with a blank, and has no controls.
pub fn is_sendable(key: &str) -> bool {
    key.trim_matches([' ', '\t']) == key && !key.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t')
}

impl KeyRing {
    /// A ring with these keys.
    pub fn new(keys: Keys) -> Self {
        Self(RwLock::new(Arc::new(keys)))
    }

    /// Whether there are no keys, so that everyone may call.
    pub fn is_open(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// What `presented` is.
    pub fn check(&self, presented: &[u8]) -> Presented {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match keys.find(presented) {
            _ if keys.is_empty() => Presented::Unneeded,
            Some(principal) => Presented::Valid(principal.clone()),
            None => Presented::Invalid,
        }
    }

    /// The keys that are valid now.
    pub fn current(&self) -> Arc<Keys> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes other keys the valid ones, for every request that comes from now on.
    pub fn replace(&self, keys: Keys) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admin(name: &str) -> Principal {
        Principal { name: KeyName::new(name), role: Role::Admin }
    }

    fn keys(all: &[&str]) -> Keys {
        let mut keys = Keys::default();
        all.iter().enumerate().for_each(|(number, key)| keys.add(&format!("k{number}"), Role::Admin, key).unwrap());
        keys
    }

    #[test]
    fn each_of_several_keys_is_found_by_its_name_and_nothing_else_is() {
        let keys = keys(&["alpha", "beta", "gamma\r\n"]);
        for (presented, name) in [("alpha", "k0"), ("beta", "k1"), ("gamma", "k2")] {
            assert_eq!(keys.find(presented.as_bytes()), Some(&admin(name)));
        }
        for wrong in ["", "alph", "alphabeta", "gamma\n", "gamma\r\n", "ALPHA", "alpha,beta", "alpha\nbeta"] {
            assert_eq!(keys.find(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert!(!format!("{keys:?}").contains("alpha"));
    }

    #[test]
    fn keys_are_the_same_by_name_secret_and_order() {
        assert!(keys(&["a", "b"]) == keys(&["a", "b\n"]));
        for other in [&["a"][..], &["a", "c"], &["b", "a"], &["a", "b", "c"], &[]] {
            assert!(keys(&["a", "b"]) != keys(other), "{other:?}");
        }
        let mut renamed = Keys::default();
        renamed.add("other", Role::Admin, "a").unwrap();
        assert!(renamed != keys(&["a"]));
        let mut demoted = Keys::default();
        demoted.add("k0", Role::Reader, "a").unwrap();
        assert!(demoted != keys(&["a"]));
    }

    #[test]
    fn a_key_has_the_role_that_it_was_added_with() {
        let mut keys = Keys::default();
        assert!(!keys.is_read_only());
        keys.add("viewer", Role::Reader, "alpha").unwrap();
        assert!(keys.is_read_only() && !keys.is_empty());
        keys.add("ci", Role::Admin, "beta").unwrap();
        assert!(!keys.is_read_only());
        assert_eq!(keys.find(b"alpha").map(|principal| principal.role), Some(Role::Reader));
        assert_eq!(keys.find(b"beta"), Some(&admin("ci")));
        let shown: Vec<_> = keys.principals().map(ToString::to_string).collect();
        assert_eq!(shown, ["viewer (reader)", "ci"]);
    }

    #[test]
    fn a_ring_without_keys_is_open_and_can_be_given_some() {
        let ring = KeyRing::default();
        assert_eq!((ring.check(b"x"), ring.is_open()), (Presented::Unneeded, true));
        ring.replace(keys(&["x", "y"]));
        assert_eq!(ring.check(b"y"), Presented::Valid(admin("k1")));
        assert_eq!((ring.check(b""), ring.check(b"z")), (Presented::Invalid, Presented::Invalid));
        ring.replace(keys(&["z"]));
        assert_eq!((ring.check(b"z"), ring.check(b"y")), (Presented::Valid(admin("k0")), Presented::Invalid));
    }

    #[test]
    fn keys_are_bounded_in_number_and_length_and_never_empty() {
        let mut keys = keys(&["x"; MAX_KEYS]);
        assert!(keys.add("one more", Role::Admin, "x").unwrap_err().contains("64"));
        let mut keys = Keys::default();
        for empty in ["", "\n", " \r\n", "\t"] {
            assert_eq!(keys.add("a", Role::Admin, empty).unwrap_err(), "must not be empty");
        }
        assert!(keys.add("a", Role::Admin, &"x".repeat(MAX_LENGTH + 1)).unwrap_err().contains("4096"));
        assert!(keys.is_empty());
    }

    #[test]
    fn a_key_that_no_header_can_carry_is_known() {
        for (key, expected) in
            [("a b", true), ("ü", true), (" a", false), ("a\t", false), ("a\nb", false), ("a\u{1b}", false), ("", true)]
        {
            assert_eq!(is_sendable(key), expected, "{key:?}");
        }
    }
}
