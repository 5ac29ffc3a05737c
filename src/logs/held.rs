//! Records that are kept until a client takes them, of all streams together.
//!
//! A place is often found in records that were read for finding it, and these are what the client gets. A client that is slow to
//! take them keeps them in memory. So all streams share one budget; a stream that gets nothing of it reads again instead.

use std::{
    mem::size_of,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::record::{Record, Records};

/// Most bytes that one stream may hold.
pub const MAX_HELD: usize = 1024 * 1024;

/// Most bytes that all streams may hold.
const BUDGET: usize = 64 * 1024 * 1024;

/// What all shares have together.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// What a stream has of the budget, in bytes. Dropping it gives that back.
#[derive(Debug, Default)]
pub struct Share(usize);

impl Share {
    /// Takes room for records; false if the stream or all of them hold too much. Then nothing is taken.
    pub fn grow(&mut self, records: &Records) -> bool {
        let bytes = records.buf.len() + records.index.len() * size_of::<Record>();
        let has_room = self.0.saturating_add(bytes) <= MAX_HELD && is_free();
        let taken = has_room
            && HELD.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| with(held, bytes, BUDGET)).is_ok();
        self.0 += if taken { bytes } else { 0 };
        taken
    }

    /// Gives all of it back.
    pub fn clear(&mut self) {
        let bytes = std::mem::take(&mut self.0);
        if bytes > 0 {
            HELD.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.clear();
    }
}

fn with(held: usize, bytes: usize, budget: usize) -> Option<usize> {
    held.checked_add(bytes).filter(|held| *held <= budget)
}

#[cfg(not(test))]
fn is_free() -> bool {
    true
}

#[cfg(test)]
thread_local! {
    /// The budget is used up, for this thread's test.
    pub static IS_USED_UP: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

#[cfg(test)]
fn is_free() -> bool {
    !IS_USED_UP.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_its_share_and_gives_it_back() {
        let records = |bytes| Records { buf: vec![0; bytes].into(), index: Vec::new(), run: None };
        let mut share = Share::default();
        assert!(share.grow(&records(MAX_HELD - 1)) && share.grow(&records(1)) && !share.grow(&records(1)));
        assert_eq!(share.0, MAX_HELD);
        share.clear();
        assert!(share.grow(&records(1)) && !share.grow(&records(MAX_HELD)));
        assert_eq!(share.0, 1);
    }

    #[test]
    fn all_of_them_have_a_bound() {
        assert_eq!((with(1, 2, 3), with(2, 2, 3), with(1, usize::MAX, 3)), (Some(3), None, None));
    }
}
