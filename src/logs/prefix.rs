//! The engine's timestamp before a record: `2006-01-02T15:04:05.000000000Z ` (moby `jsonmessage.RFC3339NanoFixed`).

/// Length of a timestamp and the space after it, in bytes.
pub const PREFIX: usize = 31;

/// The shape, with `0` for a digit.
const SHAPE: &[u8; PREFIX] = b"0000-00-00T00:00:00.000000000Z ";

/// Whether `bytes` is exactly a timestamp and a space. Tells by shape alone: the engine writes no other form.
pub fn is_prefix(bytes: &[u8]) -> bool {
    bytes.len() == PREFIX
        && bytes.iter().zip(SHAPE).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            other => byte == other,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_shape_is_a_prefix() {
        assert!(is_prefix(b"2026-11-23T02:01:21.821916123Z "));
        for other in [
            &b"2026-11-23T02:01:21.821916123Z"[..],
            b"2026-11-23T02:01:21.821916123Zx",
            b"2026-11-23 02:01:21.821916123Z ",
            b"2026-11-23T02:01:21.82191612 Z ",
            b"",
        ] {
            assert!(!is_prefix(other));
        }
    }
}
