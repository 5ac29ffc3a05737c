//! A pool of large read buffers for each thread.
//!
//! A log stream holds a buffer only while it has something to read. Taking it from the allocator each time costs page faults
//! for every read, which was half of the gateway's time on a busy stream. A buffer that another stream of the thread has just
//! used is still in the processor's cache.

use std::cell::RefCell;

use bytes::BytesMut;

/// Shorter buffers, in bytes, come from the allocator: it has them at hand, and they must not pin a long one.
const MIN_POOLED: usize = 16 * 1024;

/// Most buffers that a thread keeps.
const MAX_POOLED: usize = 4;

thread_local! {
    static POOL: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for `len` bytes.
pub fn take(len: usize) -> BytesMut {
    let pooled = if len < MIN_POOLED { None } else { POOL.with_borrow_mut(|pool| reclaim(pool, len)) };
    pooled.unwrap_or_else(|| BytesMut::with_capacity(len))
}

/// Gives a buffer back that was taken for `len` bytes. Pieces of it may still be on their way to a client.
pub fn give(mut buf: BytesMut, len: usize) {
    if len < MIN_POOLED {
        return;
    }
    buf.clear();
    POOL.with_borrow_mut(|pool| {
        if pool.len() == MAX_POOLED {
            // The oldest: a client that takes nothing may hold it for long.
            pool.remove(0);
        }
        pool.push(buf);
    });
}

/// The latest buffer that nobody holds a piece of and that is long enough.
fn reclaim(pool: &mut Vec<BytesMut>, len: usize) -> Option<BytesMut> {
    let at = pool.iter_mut().rposition(|buf| buf.try_reclaim(len))?;
    Some(pool.remove(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_pieces_are_gone() {
        let mut buf = take(64 * 1024);
        buf.extend_from_slice(b"piece");
        let address = buf.as_ptr();
        let piece = buf.split().freeze();
        give(buf, 64 * 1024);
        drop(piece);
        assert_eq!(take(64 * 1024).as_ptr(), address);
    }

    #[test]
    fn a_buffer_comes_back_empty() {
        let mut buf = take(64 * 1024);
        buf.extend_from_slice(b"left over");
        give(buf, 64 * 1024);
        assert_eq!(take(64 * 1024), "");
    }

    #[test]
    fn a_buffer_that_is_held_is_not_taken_again() {
        let mut buf = take(64 * 1024);
        buf.extend_from_slice(b"piece");
        let piece = buf.split().freeze();
        give(buf, 64 * 1024);
        let mut other = take(64 * 1024);
        other.resize(64 * 1024, b'x');
        assert_eq!(piece, "piece");
    }

    #[test]
    fn few_are_kept_and_short_ones_never() {
        for _ in 0..2 * MAX_POOLED {
            give(BytesMut::with_capacity(MIN_POOLED), MIN_POOLED);
            give(BytesMut::with_capacity(100), 100);
        }
        assert_eq!(POOL.with_borrow(Vec::len), MAX_POOLED);
    }
}
