//! How large the buffers are that backends' responses are read into.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::http1::read_size::ReadSize;

/// The largest, in bytes. One of this size goes back to the system every time (`lg_tcache_max` in `.cargo/config.toml`), which
/// costs less than to read in smaller pieces: with 128 KiB a large file came at 0.8 of nginx's speed, with this at 1.1.
const LARGE: usize = 512 * 1024;

/// The same where many connections are open.
const SMALL: usize = 128 * 1024;

/// The first, in bytes; doubled while reads fill it.
const FIRST: usize = 8 * 1024;

/// Most connections, idle ones included, that may have a large buffer at a time: beyond, their memory counts for more than
/// their speed.
const MAX_LARGE: usize = 256;

/// Deals out the large buffers.
#[derive(Debug, Default)]
pub struct Buffers(Arc<AtomicUsize>);

/// How large one connection's reads are. Those of a large buffer count as such until this is dropped.
#[derive(Debug)]
pub struct Buffer {
    size: ReadSize,
    /// The count of large buffers, if this is one.
    large: Option<Arc<AtomicUsize>>,
}

impl Buffers {
    /// A buffer for one more connection.
    pub fn take(&self) -> Buffer {
        let one_more = |count| (count < MAX_LARGE).then_some(count + 1);
        let is_large = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok();
        let max = if is_large { LARGE } else { SMALL };
        Buffer { size: ReadSize::new(FIRST, max), large: is_large.then(|| Arc::clone(&self.0)) }
    }
}

impl Buffer {
    /// How much room the next read is given, in bytes.
    pub fn size(&self) -> usize {
        self.size.next()
    }

    /// Notes that `count` bytes came where there was `room` for so many.
    pub fn note(&mut self, count: usize, room: usize) {
        self.size.note(count, room);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(large) = &self.large {
            large.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_are_few_and_come_back() {
        let buffers = Buffers::default();
        let mut taken: Vec<_> = (0..=MAX_LARGE).map(|_| buffers.take()).collect();
        assert!(taken[0].large.is_some() && taken[MAX_LARGE].large.is_none());
        taken.truncate(1);
        assert!(buffers.take().large.is_some());
        drop(taken);
        assert_eq!(buffers.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_buffer_grows_while_it_is_filled_and_shrinks_again() {
        let mut buffer = Buffers::default().take();
        for _ in 0..20 {
            buffer.note(buffer.size(), buffer.size());
        }
        assert_eq!(buffer.size(), LARGE);
        buffer.note(LARGE / 2, LARGE);
        assert_eq!(buffer.size(), LARGE);
        for _ in 0..20 {
            buffer.note(1, buffer.size());
        }
        assert_eq!(buffer.size(), FIRST);
    }
}
