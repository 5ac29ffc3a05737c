//! Large read buffers that no stream needs at the moment, kept for the next that does.
//!
//! A stream holds a buffer only while it has something to read. Taking it from the allocator each time costs page faults
//! for every 64 KiB, which was half of the gateway's time on a busy stream (README.md, "Measured"); and a buffer that another
//! stream of this thread has just used is still in the processor's cache.

use std::cell::RefCell;

use bytes::BytesMut;

/// Shorter buffers, in bytes, are the allocator's: it has them at hand, and they must not pin a long one.
const SHORTEST: usize = 16 * 1024;

/// Most buffers that a thread keeps.
const MOST: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for `len` bytes.
pub fn take(len: usize) -> BytesMut {
    let spare = if len < SHORTEST { None } else { SPARE.with_borrow_mut(|spare| reclaim(spare, len)) };
    spare.unwrap_or_else(|| BytesMut::with_capacity(len))
}

/// Gives a buffer back that was taken for `len` bytes. Pieces of it may still be on their way to a client.
pub fn give(mut buf: BytesMut, len: usize) {
    if len < SHORTEST {
        return;
    }
    buf.clear();
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < MOST {
            spare.push(buf);
        }
    });
}

/// The latest buffer that nobody holds a piece of. One that is held, or is too short, is let go: it will be freed.
fn reclaim(spare: &mut Vec<BytesMut>, len: usize) -> Option<BytesMut> {
    while let Some(mut buf) = spare.pop() {
        if buf.try_reclaim(len) {
            return Some(buf);
        }
    }
    None
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
        for _ in 0..2 * MOST {
            give(BytesMut::with_capacity(SHORTEST), SHORTEST);
            give(BytesMut::with_capacity(100), 100);
        }
        assert_eq!(SPARE.with_borrow(Vec::len), MOST);
    }
}
