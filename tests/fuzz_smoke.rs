//! The fuzz targets over their committed corpus and a bounded number of random changes to it: what every `cargo test`
//! runs, also where there is no fuzzer. `scripts/fuzz` is the real thing.

#![allow(clippy::unwrap_used, reason = "a test's failure is the panic")]

#[path = "../fuzz/answer_targets.rs"]
mod answer_targets;
#[path = "../fuzz/log_targets.rs"]
mod log_targets;
#[path = "../fuzz/request_targets.rs"]
mod request_targets;
#[path = "../fuzz/targets.rs"]
mod targets;

use std::{fs, path::Path};

const ROUNDS: usize = 2_000;

#[test]
fn chunk_frame() {
    drive("chunk_frame", targets::chunk_frame);
}

#[test]
fn timestamp() {
    drive("timestamp", targets::timestamp);
}

#[test]
fn query() {
    drive("query", targets::query);
}

#[test]
fn head() {
    drive("head", targets::head);
}

#[test]
fn answer() {
    drive("answer", answer_targets::answer);
}

#[test]
fn path() {
    drive("path", request_targets::path);
}

#[test]
fn create() {
    drive("create", request_targets::create);
}

#[test]
fn cursor() {
    drive("cursor", log_targets::cursor);
}

#[test]
fn kubelet() {
    drive("kubelet", log_targets::kubelet);
}

#[test]
fn filter() {
    drive("filter", log_targets::filter);
}

#[test]
fn records() {
    drive("records", log_targets::records);
}

fn drive(name: &str, target: fn(&[u8])) {
    let seeds = corpus(name);
    assert!(!seeds.is_empty(), "fuzz/corpus/{name} is empty");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for seed in &seeds {
        target(seed);
        for _ in 0..ROUNDS {
            target(&changed(seed, &seeds, &mut random));
        }
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    // The same order everywhere, so that a failure comes again.
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn changed(seed: &[u8], seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(data.len() + 1);
        match random.below(6) {
            0 if at < data.len() => data[at] ^= 1 << random.below(8),
            1 if at < data.len() => data[at] = random.byte(),
            2 => data.insert(at, random.byte()),
            3 => data.truncate(at),
            4 => drop(data.drain(at..(at + random.below(9)).min(data.len()))),
            _ => {
                let other = &seeds[random.below(seeds.len())];
                data.splice(at.., other[random.below(other.len() + 1)..].iter().copied());
            }
        }
    }
    data
}

/// xorshift64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits fit") % bound.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("below 256")
    }
}
