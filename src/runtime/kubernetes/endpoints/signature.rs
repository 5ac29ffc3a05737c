//! The signature of a route that the ingress gateway checks (kubernetes-runtime.md §7.1).

use std::fmt::Write as _;

use ring::digest::{Context, SHA256};

use crate::config::SecureAccess;

/// How many bytes of the digest a signature has.
const LENGTH: usize = 4;

/// The digits of the end's time.
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// When a signature ends, in base 36, and the signature: eight hexadecimal digits and the id of the key.
pub(super) fn signed(access: &SecureAccess, id: &str, port: u16, expires: u64) -> [String; 2] {
    let time = base36(expires);
    let text = format!("v1\nshort\n{id}\n{port}\n{time}\n");
    let mut context = Context::new(&SHA256);
    let key = access.keys.iter().find(|key| key.id == access.active_key);
    // The configuration has checked that the key is there.
    for part in [key.map(|key| key.key.expose()).unwrap_or_default(), text.as_bytes()] {
        context.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        context.update(part);
    }
    let mut signature = String::new();
    for byte in &context.finish().as_ref()[..LENGTH] {
        // Writing to a string does not fail.
        let _ = write!(signature, "{byte:02x}");
    }
    signature.push(access.active_key);
    [time, signature]
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    while number > 0 || digits.is_empty() {
        digits.push(char::from(DIGITS[(number % 36) as usize]));
        number /= 36;
    }
    digits.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::SigningKey, secret::SecretBytes};

    #[test]
    fn the_vectors_of_the_contract_hold() {
        let keys = [('j', &b"other"[..]), ('k', b"secret")];
        let keys = keys.map(|(id, key)| SigningKey { id, key: SecretBytes::new(key.to_vec()) });
        let access = SecureAccess { active_key: 'k', keys: keys.into() };
        let signed = |id| signed(&access, id, 8080, 1_900_000_000).join(" ");
        assert_eq!(signed("2ac503a7-652a-42be-a827-aa31fab376d3"), "vf7lds 70ec432bk");
        assert_eq!(signed("30e73bae-8e72-4ff1-b3f1-62e2f26675be"), "vf7lds 89ccf97ek");
    }

    #[test]
    fn numbers_are_written_in_base_36() {
        assert_eq!([0, 35, 36, u64::MAX].map(base36), ["0", "z", "10", "3w5e11264sgsf"]);
    }
}
