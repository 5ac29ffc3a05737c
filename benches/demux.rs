//! What decoding costs by itself: framed lines in buffers of 64 KiB, beside a copy of the same bytes. And what records cost
//! until they are the bytes that a client gets, in each format and with filters.

use std::{
    collections::{VecDeque, vec_deque},
    future::poll_fn,
    hint::black_box,
    task::{Context, Poll},
};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use opensandbox_gateway::http1::framing::BodyDecoder;
use opensandbox_gateway::logs::{
    LogError, LogQuery, LogSource,
    compact::HEADROOM,
    cursor::RunId,
    decode::{Decoder, Mode, records::RecordDecoder},
    piece::{End, Piece, PieceSource, Reason},
    record::Records,
    rendered::{Format, Rendered, Rendering},
    select::Filter,
};

const READ: usize = 64 * 1024;

/// An engine's bytes: a frame and a chunk a line of `length` bytes, with a timestamp when `stamped`.
fn stream(length: usize, stamped: bool) -> Vec<u8> {
    let time = if stamped { "2026-11-23T02:01:21.821916123Z " } else { "" };
    let payload = [time.as_bytes(), &vec![b'x'; length - 1], b"\n"].concat();
    let size = u32::try_from(payload.len()).expect("short lines");
    let frame = [&[1, 0, 0, 0][..], &size.to_be_bytes(), &payload].concat();
    let chunk = [format!("{:x}\r\n", frame.len()).as_bytes(), &frame, b"\r\n"].concat();
    chunk.repeat(4 * READ / chunk.len() + 1)
}

fn reads(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.chunks(READ).map(|read| [&[0; HEADROOM][..], read].concat()).collect()
}

fn compact(c: &mut Criterion) {
    let mut group = c.benchmark_group("compact");
    for (length, timestamps) in [(100, false), (100, true), (1024, false), (16_384, false)] {
        let bytes = stream(length, timestamps);
        let name = if timestamps { format!("{length} stamped") } else { length.to_string() };
        let reads = reads(&bytes);
        group.throughput(Throughput::Elements((bytes.len() / length) as u64));
        group.bench_function(BenchmarkId::new("lines", &name), |b| {
            b.iter_batched_ref(
                || reads.clone(),
                |reads| {
                    let mode = Mode { tty: false, timestamps, record_limit: 16 * 1024 };
                    let mut decoder = Decoder::new(BodyDecoder::chunked(), mode);
                    for read in reads {
                        black_box(decoder.compact(read).expect("an engine's bytes"));
                    }
                },
                criterion::BatchSize::LargeInput,
            );
        });
        group.bench_function(BenchmarkId::new("copy", &name), |b| {
            let mut into = vec![0; READ + HEADROOM];
            b.iter(|| reads.iter().for_each(|read| into[..read.len()].copy_from_slice(black_box(read))));
        });
    }
    group.finish();
}

/// An engine's reads, decoded into records when they are asked for.
struct Engine {
    reads: vec_deque::IntoIter<Bytes>,
    rest: Bytes,
    decoder: RecordDecoder,
    ready: VecDeque<Records>,
    is_ended: bool,
}

impl Engine {
    fn new(reads: VecDeque<Bytes>) -> Self {
        let decoder = RecordDecoder::new(BodyDecoder::chunked(), false, 16 * 1024);
        Self { reads: reads.into_iter(), rest: Bytes::new(), decoder, ready: VecDeque::new(), is_ended: false }
    }
}

impl PieceSource for Engine {
    fn poll_piece(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Piece, LogError>>> {
        loop {
            if let Some(records) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Piece::Records(records))));
            }
            let Some(read) = self.reads.next() else {
                let is_ended = std::mem::replace(&mut self.is_ended, true);
                return Poll::Ready((!is_ended).then(|| Ok(Piece::End(End::of(Reason::Exited)))));
            };
            // As an exchange does it: the beginning of a chunk is read again, in front of what follows it.
            let read = if self.rest.is_empty() { read } else { [&self.rest[..], &read].concat().into() };
            let used = self.decoder.decode(&read, &mut self.ready).expect("an engine's bytes");
            self.rest = Bytes::copy_from_slice(&read[used..]);
        }
    }

    fn run(&self) -> RunId {
        RunId::of("0123456789abcdef")
    }

    fn drops_newlines(&self) -> bool {
        false
    }

    fn bytes_read(&self) -> u64 {
        0
    }
}

/// All that a client gets of `reads`; gives how many bytes that is.
async fn render(reads: VecDeque<Bytes>, query: &LogQuery, format: Format) -> usize {
    let rendering = Rendering { format, ..Rendering::default() };
    let mut log = Box::pin(Rendered::new(Engine::new(reads), query, rendering));
    let mut count = 0;
    while let Some(chunk) = poll_fn(|cx| log.as_mut().poll_chunk(cx)).await {
        count += black_box(chunk.expect("no fault")).len();
    }
    count
}

fn matching(grep: &[&str], search: &[&str]) -> LogQuery {
    let grep = Filter::compile(grep).expect("an expression");
    let filter = Filter::new(grep, false, search.iter().map(|text| text.as_bytes().to_vec()));
    LogQuery { filter, ..LogQuery::ALL }
}

fn records(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let stamped = LogQuery { timestamps: true, ..LogQuery::ALL };
    let mut group = c.benchmark_group("records");
    for length in [100, 1024] {
        let bytes = stream(length, true);
        // A line has a newline of its own and two of its chunk.
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() / 3;
        let reads: VecDeque<_> = bytes.chunks(READ).map(Bytes::copy_from_slice).collect();
        group.throughput(Throughput::Elements(lines as u64));
        for (name, query, format) in [
            ("text", LogQuery::ALL, Format::Text),
            ("text with times", stamped.clone(), Format::Text),
            ("ndjson", LogQuery::ALL, Format::Ndjson),
            ("sse", LogQuery::ALL, Format::Sse),
            ("search in vain", matching(&[], &["needle"]), Format::Text),
            ("grep in vain, with a literal prefix", matching(&["needle [0-9]+"], &[]), Format::Text),
            ("grep in vain, without", matching(&["[0-9]+ needles?"], &[]), Format::Text),
            ("grep all, as ndjson", matching(&["x{3}"], &[]), Format::Ndjson),
        ] {
            group.bench_function(BenchmarkId::new(name, length), |b| {
                b.iter(|| runtime.block_on(render(reads.clone(), &query, format)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, compact, records);
criterion_main!(benches);
