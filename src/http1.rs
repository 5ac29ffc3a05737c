//! HTTP/1.1 as a client reads it: for the log exchange with an engine, and for the proxy's connections to sandboxes' servers.
//!
//! [`response_reader`] is the whole of it: it takes a response's head, finds where its body ends, and hands out the body. It
//! does no IO: its user reads into its buffer. The log exchange takes over behind the head, since there each line is a chunk,
//! and decodes chunks and frames in one pass with the same [`framing::BodyDecoder`].

pub mod buffer_pool;
pub mod error;
pub mod framing;
pub mod head;
pub mod read_size;
pub mod response_reader;
#[cfg(test)]
pub(crate) mod scripted;
