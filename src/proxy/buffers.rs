//! How large the buffers are that backends' answers are read into.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The largest, in bytes. One of this size goes back to the system every time (`lg_tcache_max` in `.cargo/config.toml`), which
/// costs less than to read in smaller pieces: with 128 KiB a large file came at 0.8 of nginx's speed, with this at 1.1.
const LARGE: usize = 512 * 1024;

/// The same where many connections are open.
const SMALL: usize = 128 * 1024;

/// The first, in bytes; doubled while reads fill it.
const FIRST: usize = 8 * 1024;

/// Most connections that may have a large buffer at a time, those that rest included: beyond, their memory counts for more
/// than their speed.
const MOST_LARGE: usize = 256;

/// Deals out the large buffers.
#[derive(Debug, Default)]
pub struct Buffers(Arc<AtomicUsize>);

/// How large a connection's buffer is, and may grow until this is dropped.
#[derive(Debug)]
pub struct Buffer {
    size: usize,
    max: usize,
    large: Arc<AtomicUsize>,
}

impl Buffers {
    /// A buffer for one more connection.
    pub fn take(&self) -> Buffer {
        let is_large = |count| (count < MOST_LARGE).then_some(count + 1);
        let max = match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_large) {
            Ok(_) => LARGE,
            Err(_) => SMALL,
        };
        Buffer { size: FIRST, max, large: Arc::clone(&self.0) }
    }
}

impl Buffer {
    /// How much room the next read is given, in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Notes that `count` bytes came where there was `room` for so many.
    pub fn learn(&mut self, count: usize, room: usize) {
        if count == room {
            self.size = (self.size * 2).min(self.max);
        } else if count < self.size / 4 {
            self.size = (self.size / 2).max(FIRST);
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.max == LARGE {
            self.large.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_are_few_and_come_back() {
        let buffers = Buffers::default();
        let mut taken: Vec<_> = (0..=MOST_LARGE).map(|_| buffers.take()).collect();
        assert_eq!((taken[0].max, taken[MOST_LARGE].max), (LARGE, SMALL));
        taken.truncate(1);
        assert_eq!(buffers.take().max, LARGE);
        drop(taken);
        assert_eq!(buffers.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_buffer_grows_while_it_is_filled_and_shrinks_again() {
        let mut buffer = Buffers::default().take();
        for _ in 0..20 {
            buffer.learn(buffer.size(), buffer.size());
        }
        assert_eq!(buffer.size(), LARGE);
        buffer.learn(LARGE / 2, LARGE);
        assert_eq!(buffer.size(), LARGE);
        for _ in 0..20 {
            buffer.learn(1, buffer.size());
        }
        assert_eq!(buffer.size(), FIRST);
    }
}
