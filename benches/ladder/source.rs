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
        };
        Script::new(steps).with_head(Head::AtOnce)
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

/// Serves the loads, and one silent sandbox, until the standard input ends.
pub fn run() {
    let engine = Engine::start();
    for load in LOADS {
        engine.sandbox(Sandbox { id: load.id(), ..Sandbox::new(load.script()) });
    }
    engine.sandbox(Sandbox { id: "silent".into(), ..Sandbox::new(Script::silent()) });
    println!("{}", engine.address());
    let _ = std::io::stdin().read(&mut [0]);
}
