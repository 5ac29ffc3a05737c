//! The source: an engine whose logs come as fast as they are taken.

use std::io::Read;

use bytes::Bytes;

use crate::support::engine::{
    Engine,
    script::{Head, Sandbox, Script, Step, chunk, frame, line},
};

/// How a stream is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Writes {
    /// In blocks of 256 KiB: a reader that was away.
    Batched,
    /// One write a line: a live engine.
    Lines,
    /// In blocks of 256 KiB, with times; one line in 1,000 begins with `match`.
    Stamped,
}

/// A stream of lines.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub length: usize,
    pub lines: u64,
    pub writes: Writes,
}

/// All streams that are measured. A relay needs about a second or more for the longer ones.
pub const LOADS: [Load; 6] = [
    Load { length: 100, lines: 10_000_000, writes: Writes::Batched },
    Load { length: 128, lines: 8_000_000, writes: Writes::Batched },
    Load { length: 1024, lines: 2_000_000, writes: Writes::Batched },
    Load { length: 16_384, lines: 200_000, writes: Writes::Batched },
    Load { length: 100, lines: 1_000_000, writes: Writes::Lines },
    Load { length: 100, lines: 200_000, writes: Writes::Batched },
];

/// The same as the first, with times: what an engine sends to who asks for them. Each line has a time of its own.
pub const STAMPED: Load = Load { length: 100, lines: 2_000_000, writes: Writes::Stamped };

impl Load {
    /// The sandbox that prints it.
    pub fn id(self) -> String {
        let Self { length, lines, writes } = self;
        format!("{writes:?}-{length}-{lines}").to_lowercase()
    }

    /// Payload bytes.
    pub fn bytes(self) -> u64 {
        self.lines * self.length as u64
    }

    fn script(self) -> Script {
        let steps = match self.writes {
            Writes::Lines => vec![Step::Lines { count: self.lines, length: self.length, batched: false }, Step::End],
            Writes::Batched => self.blocks(),
            Writes::Stamped => self.stamped(),
        };
        Script::new(steps).with_head(Head::AtOnce)
    }

    fn stamped(self) -> Vec<Step> {
        let (match_line, other_line) = (stamped_line(b"match", self.length), stamped_line(b"", self.length));
        let (mut steps, mut block) = (Vec::new(), Vec::new());
        for number in 0..self.lines {
            let line = if number % 1000 == 0 { &match_line } else { &other_line };
            let time = format!(
                "2026-11-23T02:{:02}:{:02}.{:09}Z ",
                number / 60_000 % 60,
                number / 1000 % 60,
                number % 1000 * 1000
            );
            block.extend_from_slice(&chunk(&frame(1, &[time.as_bytes(), line].concat())));
            if block.len() >= 256 * 1024 {
                steps.push(Step::Raw(std::mem::take(&mut block).into()));
            }
        }
        steps.extend([Step::Raw(block.into()), Step::End]);
        steps
    }

    /// The same block again and again: making lines must not cost more than moving them.
    fn blocks(self) -> Vec<Step> {
        let one = chunk(&frame(1, &line(1, self.length)));
        let a_block = (256 * 1024 / one.len() as u64).max(1);
        let block = Bytes::from(one.repeat(a_block as usize));
        let rest = Bytes::from(one.repeat((self.lines % a_block) as usize));
        let mut steps = vec![Step::Raw(block); (self.lines / a_block) as usize];
        steps.extend([Step::Raw(rest), Step::End]);
        steps
    }
}

/// A line that begins with `start`, of `length` bytes with its newline.
fn stamped_line(start: &[u8], length: usize) -> Vec<u8> {
    let mut line = start.to_vec();
    line.resize(length - 1, b'x');
    line.push(b'\n');
    line
}

/// Serves the loads, and one silent sandbox, until the standard input ends.
pub fn run() {
    let engine = Engine::start();
    for load in LOADS.into_iter().chain([STAMPED]) {
        engine.sandbox(Sandbox { id: load.id(), ..Sandbox::new(load.script()) });
    }
    engine.sandbox(Sandbox { id: "silent".into(), ..Sandbox::new(Script::silent()) });
    println!("{}", engine.address());
    let _ = std::io::stdin().read(&mut [0]);
}
