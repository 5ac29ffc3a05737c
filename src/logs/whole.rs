//! The common case, fast: a chunk that holds exactly one frame, and all of it is there.
//!
//! An engine flushes every record, so this is nearly every line of a log (log-performance.md §1). What is different in any
//! way, such as split by the end of a read, is left to the state machines of [`crate::framing`] and [`super::frames`].

/// Most bytes that the size line and the frame's header take here: four digits, CRLF, eight bytes; rounded up.
const HEAD: usize = 16;

/// Where a whole record's payload is, counted from its chunk's first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    /// The stream it is of, 0 to 2.
    pub stream: u8,
    /// Where the payload begins.
    pub start: usize,
    /// Where it ends; the chunk ends two bytes later.
    pub end: usize,
}

/// Finds the record at the front of `input`, which is at the beginning of a chunk. `None` when it is not of the common
/// kind, for whatever reason.
#[inline]
pub fn record(input: &[u8]) -> Option<Whole> {
    let head = input.first_chunk::<HEAD>()?;
    let (size, digits) = chunk_size(head)?;
    let header = head[digits + 2..].first_chunk::<8>()?;
    let [stream, zero @ .., a, b, c, d] = *header;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let start = digits + 2 + 8;
    let end = start + length;
    let is_whole = zero == [0; 3] && stream <= 2 && length > 0 && length + 8 == size;
    (is_whole && input.get(end..end + 2)? == b"\r\n").then_some(Whole { stream, start, end })
}

/// Reads a size line of one to four hexadecimal digits.
#[inline]
fn chunk_size(head: &[u8; HEAD]) -> Option<(usize, usize)> {
    let mut size = 0;
    for digits in 0..5 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_frame_in_a_chunk_of_its_own_is_one() {
        let whole = b"d\r\n\x02\0\0\0\0\0\0\x05hello\r\nnext";
        assert_eq!(record(whole), Some(Whole { stream: 2, start: 11, end: 16 }));
        assert_eq!(record(&whole[..18]), Some(Whole { stream: 2, start: 11, end: 16 }));
        assert_eq!(record(&whole[..17]), None);
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
            assert_eq!(record(other), None, "{other:?}");
        }
    }
}
