//! What decoding costs by itself: framed lines in buffers of 64 KiB, beside a copy of the same bytes.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use opensandbox_gateway::http1::framing::BodyDecoder;
use opensandbox_gateway::logs::{
    compact::HEADROOM,
    decode::{Decoder, Mode},
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

criterion_group!(benches, compact);
criterion_main!(benches);
