//! What stands at the beginning of a chunk: an engine sends nearly every record in a chunk of its own (log-performance.md §1).

/// Most bytes that the size line and a frame's header take on the fast path: four digits, CRLF, eight bytes; rounded up.
const FAST_HEAD: usize = 16;

/// Most digits of a size line that is read here.
const MAX_DIGITS: usize = 4;

/// A whole record in a chunk of its own, in a frame. Its places are counted from the chunk's first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Framed {
    /// The stream, 0 to 2.
    pub(super) stream: u8,
    /// Where the payload begins.
    pub(super) start: usize,
    /// Where it ends; the chunk ends two bytes later.
    pub(super) end: usize,
}

/// The record at the front of `input`, which is at the beginning of a chunk. `None` if it is not whole, or not alone in its
/// chunk.
#[inline]
pub(super) fn framed(input: &[u8]) -> Option<Framed> {
    let head = input.first_chunk::<FAST_HEAD>()?;
    let (size, digits) = chunk_size(head)?;
    let header = head[digits + 2..].first_chunk::<8>()?;
    let [stream, zero @ .., a, b, c, d] = *header;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let start = digits + 2 + 8;
    let end = start + length;
    let is_whole = zero == [0; 3] && stream <= 2 && length > 0 && length + 8 == size;
    (is_whole && input.get(end..end + 2)? == b"\r\n").then_some(Framed { stream, start, end })
}

/// Reads a size line of one to four hexadecimal digits.
#[inline]
fn chunk_size(head: &[u8; FAST_HEAD]) -> Option<(usize, usize)> {
    let mut size = 0;
    for digits in 0..=MAX_DIGITS {
        let digit = match head[digits] {
            byte @ b'0'..=b'9' => byte - b'0',
            byte @ b'a'..=b'f' => byte - b'a' + 10,
            b'\r' if head[digits + 1] == b'\n' && digits > 0 => return Some((size, digits)),
            _ => return None,
        };
        size = size << 4 | usize::from(digit);
    }
    None
}

/// A chunk, as far as it was read. Places are counted from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    /// Its data, which is not empty; it ends two bytes after `end`.
    Whole {
        /// Where the data begins.
        start: usize,
        /// Where it ends.
        end: usize,
    },
    /// More of it is to be read. It has less than 64 KiB and 10 bytes.
    Cut,
    /// The last one, one that is longer, one with an extension, or none at all.
    Other,
}

/// The chunk at the beginning of `input`, which is not empty.
pub(super) fn chunk(input: &[u8]) -> Chunk {
    let mut size = 0;
    for digits in 0..=MAX_DIGITS {
        let digit = match input.get(digits) {
            Some(byte @ b'0'..=b'9') => byte - b'0',
            Some(byte @ b'a'..=b'f') => byte - b'a' + 10,
            Some(b'\r') if size > 0 => return sized(input, digits + 2, size),
            None if size > 0 => return Chunk::Cut,
            _ => return Chunk::Other,
        };
        size = size << 4 | usize::from(digit);
    }
    Chunk::Other
}

fn sized(input: &[u8], start: usize, size: usize) -> Chunk {
    let end = start + size;
    match (input.get(start - 1), input.get(end..end + 2)) {
        (Some(byte), _) if *byte != b'\n' => Chunk::Other,
        (Some(_), Some(b"\r\n")) => Chunk::Whole { start, end },
        (Some(_), Some(_)) => Chunk::Other,
        (None, _) | (_, None) => Chunk::Cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_frame_in_a_chunk_of_its_own_is_one() {
        let whole = b"d\r\n\x02\0\0\0\0\0\0\x05hello\r\nnext";
        assert_eq!(framed(whole), Some(Framed { stream: 2, start: 11, end: 16 }));
        assert_eq!(framed(&whole[..18]), Some(Framed { stream: 2, start: 11, end: 16 }));
        assert_eq!(framed(&whole[..17]), None);
        for other in [
            &b"e\r\n\x02\0\0\0\0\0\0\x05hello!\r\nnext"[..],
            b"c\r\n\x02\0\0\0\0\0\0\x05hell\r\nnext",
            b"d\r\n\x03\0\0\0\0\0\0\x05hello\r\nnext",
            b"d\r\n\x01\0\x01\0\0\0\0\x05hello\r\nnext",
            b"d\r\n\x01\0\0\0\xFF\xFF\xFF\xFFhello\r\nnext",
            b"8\r\n\x01\0\0\0\0\0\0\0\r\nnext",
            b"D;x\r\n\x01\0\0\0\0\0\0\x05hello\r\n",
            b"d\r\n\x01\0\0\0\0\0\0\x05helloxxnext",
            b"0\r\n\r\n",
            b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n",
        ] {
            assert_eq!(framed(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_chunk_is_whole_cut_or_something_else() {
        let whole = b"5\r\nhello\r\nnext";
        assert_eq!(chunk(whole), Chunk::Whole { start: 3, end: 8 });
        assert_eq!(chunk(b"0"), Chunk::Other, "a zero may be the last chunk's");
        for at in 1..10 {
            assert_eq!(chunk(&whole[..at]), Chunk::Cut, "{at}");
        }
        for other in [
            &b"0"[..],
            b"0\r\n\r\n",
            b"fffff",
            b"fffff\r\n",
            b"5;x\r\nhello\r\n",
            b"5\rxhello",
            b"5\r\nhelloxx",
            b"\r\n",
            b"g",
        ] {
            assert_eq!(chunk(other), Chunk::Other, "{other:?}");
        }
        assert_eq!(chunk(b"ffff\r\n"), Chunk::Cut);
    }
}
