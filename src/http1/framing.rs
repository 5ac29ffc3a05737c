//! Where a message's body is in what was read: in chunks (RFC 9112 §7.1), of a length, or up to the connection's end. Found
//! in place: nothing is copied.

use super::error::Error;

/// Longest chunk-size line or trailer section, in bytes, that is accepted before the server counts as broken.
const MAX_FRAMING: u16 = 4 * 1024;

/// Where the body's bytes are inside what was read; survives any split of the input.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    /// Bytes of framing since the last data byte; bounds extensions and trailers.
    framing: u16,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// In the hexadecimal size; how much of it was read.
    Size { value: u64, digits: u8 },
    /// In a chunk extension, up to the line's end.
    Extension { value: u64 },
    /// The size line's LF is due.
    SizeLf { value: u64 },
    /// So many data bytes remain in this chunk.
    Data(u64),
    /// The CR after a chunk's data is due.
    DataCr,
    /// The LF after a chunk's data is due.
    DataLf,
    /// At the start of a trailer line.
    TrailerStart,
    /// Inside a trailer line.
    Trailer,
    /// The LF of the empty line that ends the trailers is due.
    LastLf,
    /// So many bytes remain of a body with a Content-Length.
    Length(u64),
    /// All bytes up to the connection's end are the body.
    UntilClose,
    /// The body is complete.
    Ended,
}

/// A run of body bytes: how many framing bytes precede it, and its length. That is 0 when there is none before the next
/// chunk begins, or before the input ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    /// Framing bytes to step over.
    pub skip: usize,
    /// Body bytes after them.
    pub len: usize,
}

impl BodyDecoder {
    /// A body in chunks.
    pub fn chunked() -> Self {
        Self { state: State::Size { value: 0, digits: 0 }, framing: 0 }
    }

    /// A body of `length` bytes.
    pub fn with_length(length: u64) -> Self {
        Self { state: if length == 0 { State::Ended } else { State::Length(length) }, framing: 0 }
    }

    /// A body that ends with its connection (RFC 9112 §6.3, rule 8).
    pub fn until_close() -> Self {
        Self { state: State::UntilClose, framing: 0 }
    }

    /// Whether the last byte of the body was seen.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether the next byte is the first of a chunk.
    pub fn is_between_chunks(&self) -> bool {
        self.state == State::Size { value: 0, digits: 0 }
    }

    /// Whether the end of the connection is a proper end of the body at this point.
    pub fn may_close(&self) -> bool {
        matches!(self.state, State::Ended | State::UntilClose)
    }

    /// How many bytes are left, where a length was told or nothing is left.
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Ended => Some(0),
            _ => None,
        }
    }

    /// Whether the next byte is the first after the last chunk: of the trailers, or of the empty line that ends them.
    pub fn is_at_trailers(&self) -> bool {
        self.state == State::TrailerStart
    }

    /// Finds the next run of body bytes in `input`, which starts where the last run ended. Never goes past the beginning
    /// of a chunk or of a line of trailers, so that a caller can look at that itself.
    ///
    /// # Errors
    ///
    /// The chunks are not valid.
    pub fn next_run(&mut self, input: &[u8]) -> Result<Run, Error> {
        let mut at = 0;
        while at < input.len() {
            match self.state {
                State::Data(left) => return Ok(self.take(input.len() - at, left, at, State::Data, State::DataCr)),
                State::Length(left) => return Ok(self.take(input.len() - at, left, at, State::Length, State::Ended)),
                State::UntilClose => return Ok(Run { skip: at, len: input.len() - at }),
                // Bytes after the end are not ours: the connection is used for one exchange.
                State::Ended => return Ok(Run { skip: input.len(), len: 0 }),
                _ => {
                    self.state = self.framing_byte(input[at])?;
                    at += 1;
                    if self.is_between_chunks() || self.is_at_trailers() {
                        break;
                    }
                }
            }
        }
        Ok(Run { skip: at, len: 0 })
    }

    #[inline]
    fn take(&mut self, available: usize, left: u64, skip: usize, more: fn(u64) -> State, done: State) -> Run {
        let len = usize::try_from(left).map_or(available, |left| left.min(available));
        let left = left - len as u64;
        self.state = if left == 0 { done } else { more(left) };
        self.framing = 0;
        Run { skip, len }
    }

    #[inline]
    fn framing_byte(&mut self, byte: u8) -> Result<State, Error> {
        self.framing += 1;
        if self.framing > MAX_FRAMING {
            return Err(Error::InvalidChunk("a chunk header or trailer is too long"));
        }
        match self.state {
            State::Size { value, digits } => size_byte(value, digits, byte),
            State::Extension { value } if byte == b'\n' => Ok(after_size(value)),
            State::Extension { value } => Ok(State::Extension { value }),
            State::SizeLf { value } if byte == b'\n' => Ok(after_size(value)),
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => Ok(State::Size { value: 0, digits: 0 }),
            State::TrailerStart if byte == b'\r' => Ok(State::LastLf),
            State::TrailerStart if byte == b'\n' => Ok(State::Ended),
            State::TrailerStart => Ok(State::Trailer),
            State::Trailer if byte == b'\n' => Ok(State::TrailerStart),
            State::Trailer => Ok(State::Trailer),
            State::LastLf if byte == b'\n' => Ok(State::Ended),
            _ => Err(Error::InvalidChunk("a chunk is not followed by CRLF")),
        }
    }
}

#[inline]
fn size_byte(value: u64, digits: u8, byte: u8) -> Result<State, Error> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        b'\r' if digits > 0 => return Ok(State::SizeLf { value }),
        b';' | b' ' | b'\t' if digits > 0 => return Ok(State::Extension { value }),
        _ => return Err(Error::InvalidChunk("a chunk size is not hexadecimal")),
    };
    if digits == 16 {
        return Err(Error::InvalidChunk("a chunk size is too large"));
    }
    Ok(State::Size { value: value << 4 | u64::from(digit), digits: digits + 1 })
}

fn after_size(value: u64) -> State {
    if value == 0 { State::TrailerStart } else { State::Data(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &[u8], step: usize) -> Result<(Vec<u8>, bool), Error> {
        let (mut body, mut out) = (BodyDecoder::chunked(), Vec::new());
        for mut piece in input.chunks(step) {
            while !piece.is_empty() {
                let run = body.next_run(piece)?;
                out.extend_from_slice(&piece[run.skip..run.skip + run.len]);
                piece = &piece[run.skip + run.len..];
            }
        }
        Ok((out, body.is_ended()))
    }

    #[test]
    fn chunks_are_the_same_however_they_are_split() {
        let input = b"3\r\nabc\r\n0A;x=\"y\"\r\n0123456789\r\n0\r\nExpires: never\r\n\r\n";
        for step in 1..=input.len() {
            assert_eq!(decode(input, step).expect("valid"), (b"abc0123456789".to_vec(), true), "step {step}");
        }
    }

    #[test]
    fn an_end_before_the_last_chunk_is_not_an_end() {
        for input in [&b"3\r\nabc"[..], b"3\r\nabc\r\n", b"3\r\nabc\r\n0\r\n", b"3\r\nab"] {
            assert!(!decode(input, 2).expect("valid so far").1);
        }
    }

    #[test]
    fn broken_framing_is_refused() {
        for input in [&b"xyz\r\n"[..], b"\r\n", b"3\r\nabcd\r\n", b"11111111111111111\r\n", b"3\r\nabc\rX", b"3\rX"] {
            assert!(matches!(decode(input, 1), Err(Error::InvalidChunk(_))), "{input:?}");
        }
        let endless = [b"1;".to_vec(), vec![b'x'; 5000]].concat();
        assert!(decode(&endless, 512).is_err());
    }

    #[test]
    fn a_length_ends_by_itself_and_a_close_delimited_body_never() {
        let mut body = BodyDecoder::with_length(3);
        assert_eq!(body.next_run(b"abcd").expect("valid"), Run { skip: 0, len: 3 });
        assert!(body.is_ended());
        let mut body = BodyDecoder::until_close();
        assert_eq!(body.next_run(b"abcd").expect("valid"), Run { skip: 0, len: 4 });
        assert!(!body.is_ended() && body.may_close());
    }
}
