//! Which run of a sandbox's container printed something.

/// Names one run of a sandbox's container, well enough to tell it from another of the same sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunId(pub(super) u64);

impl RunId {
    /// The run whose container has this hexadecimal id, with or without hyphens: its first 16 digits.
    ///
    /// Any other text gives a number of its own, too.
    pub fn of(id: &str) -> Self {
        let digits: String = id.chars().filter(|c| *c != '-').take(16).collect();
        let other = || u64::from(crc32fast::hash(id.as_bytes())) << 32 | id.len() as u64;
        Self(u64::from_str_radix(&digits, 16).unwrap_or_else(|_| other()))
    }

    /// The run of a pod's container that was restarted so often before.
    pub fn of_instance(pod_uid: &str, container: &str, restarts: u64) -> Self {
        let container = u64::from(crc32fast::hash(container.as_bytes())) << 32;
        Self((Self::of(pod_uid).0 ^ container).wrapping_add(restarts))
    }

    /// Whether this is a later instance of the pod's container of `before`, at most 1000 later.
    pub fn is_later_than(self, before: Self) -> bool {
        (1..=1000).contains(&self.0.wrapping_sub(before.0))
    }

    /// Whether this is the instance of a pod's container that came next after that of `before`.
    pub fn is_next_of(self, before: Self) -> bool {
        self.0 == before.0.wrapping_add(1)
    }
}
