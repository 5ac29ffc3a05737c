//! What the fuzzer runs on answers of sandboxes' servers, as plain functions; `tests/fuzz_smoke.rs` runs them too.

#![allow(unreachable_pub, reason = "included by programs, which have nobody to export it to")]

use http::Method;
use opensandbox_gateway::http1::{error::Error, head::is_final, response_reader::ResponseReader};

/// Reads an answer of a sandbox's server (after a byte that says to which method, and a seed for where to split it) in
/// pieces and in one piece. Both must agree: on the heads, on the body's bytes, and on how it ended.
pub fn answer(data: &[u8]) {
    let Some((&[method, seed], wire)) = data.split_first_chunk::<2>() else { return };
    let method = if method & 1 == 0 { Method::GET } else { Method::HEAD };
    let whole = read(wire, wire.len(), &method);
    let pieces = read(wire, usize::from(seed).max(1), &method);
    assert_eq!(whole, pieces, "{wire:?}");
}

/// What was read: statuses and fields, the body, the trailers, and the fault or how the connection is left.
type Read = (Vec<String>, Vec<u8>, Result<(bool, bool), String>);

fn read(wire: &[u8], step: usize, method: &Method) -> Read {
    let mut reader = ResponseReader::default();
    reader.begin(method.clone());
    let (mut heads, mut body, mut is_begun) = (Vec::new(), Vec::new(), false);
    for piece in wire.chunks(step.max(1)) {
        reader.bytes.extend_from_slice(piece);
        if let Err(failure) = step_on(&mut reader, &mut heads, &mut body, &mut is_begun) {
            return (heads, body, Err(failure.to_string()));
        }
    }
    let is_ended = is_begun && reader.is_ended();
    let closed = if is_begun && !is_ended { reader.close().map_err(|failure| failure.to_string()) } else { Ok(()) };
    (heads, body, closed.map(|()| (is_ended, reader.is_idle())))
}

fn step_on(
    reader: &mut ResponseReader,
    heads: &mut Vec<String>,
    body: &mut Vec<u8>,
    is_begun: &mut bool,
) -> Result<(), Error> {
    while !*is_begun {
        let Some(head) = reader.head()? else { return Ok(()) };
        *is_begun = is_final(&head);
        heads.push(format!("{head:?}"));
    }
    while let Some(frame) = reader.frame()? {
        match frame.into_data() {
            Ok(data) => body.extend_from_slice(&data),
            Err(trailers) => heads.push(format!("{trailers:?}")),
        }
    }
    Ok(())
}
