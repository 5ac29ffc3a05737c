//! Streams of one thread hand their read buffers on to one another: what a client gets is still its own stream's bytes.
//!
//! Each follower's bytes are its own, every one of them is compared, and nothing depends on time: in each round some
//! followers take all there is and fall silent, so that their buffers are free for others, while the rest take next to
//! nothing and so keep pieces of buffers in the gateway until a later round.

use bytes::Bytes;
use futures_util::future::join_all;

use crate::{
    Setup, logs,
    support::{
        client::{Client, get_once},
        engine::{Engine, Gate, Sandbox, Script, Step, chunk, frame},
        gateway::Gateway,
        h2::{H2, Stream},
    },
};

const FOLLOWERS: usize = 32;
const ROUNDS: usize = 4;

/// What one write of the engine has: as much as the largest read takes.
const WRITE: usize = 256 * 1024;

/// Bytes of a follower's round, give or take some: more than two of the largest reads.
const BURST: usize = 600_000;

/// The bytes of a round of a follower, by a generator (splitmix64) that gives no two of them a common stretch.
fn payload(follower: usize, round: usize) -> Vec<u8> {
    let mut state = ((follower * ROUNDS + round) as u64) << 32;
    // Of a length of its own, too.
    let mut payload = vec![0; BURST + 1_009 * follower + 37 * round];
    for word in payload.chunks_mut(8) {
        word.copy_from_slice(&next(&mut state).to_le_bytes()[..word.len()]);
    }
    payload
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Cuts `bytes` into pieces of 1 to `most` bytes, in lengths that `seed` chooses.
fn pieces(mut bytes: &[u8], most: usize, seed: usize) -> Vec<&[u8]> {
    let (mut state, mut pieces) = (seed as u64, Vec::new());
    while !bytes.is_empty() {
        let length = 1 + usize::try_from(next(&mut state) % most as u64).expect("less than most");
        let (piece, rest) = bytes.split_at(length.min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// How a follower's bytes are laid out in the engine's answer.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// A frame a chunk, as an engine sends lines.
    Lines,
    /// Frames and chunks that are cut without regard to one another.
    Cut,
    /// A round is one frame in one chunk, so that reads hold nothing but payload.
    Huge,
    /// A terminal's, without frames.
    Terminal,
}

impl Shape {
    fn of(follower: usize) -> Self {
        [Self::Lines, Self::Cut, Self::Huge, Self::Terminal][follower % 4]
    }

    fn wire(self, payload: &[u8], seed: usize) -> Vec<u8> {
        let frames = |most| pieces(payload, most, seed).into_iter().map(|piece| frame(1, piece));
        let chunks: Vec<Vec<u8>> = match self {
            Self::Lines => frames(300).map(|framed| chunk(&framed)).collect(),
            Self::Cut => {
                let framed = frames(40_000).collect::<Vec<_>>().concat();
                pieces(&framed, 5_000, seed + 1).into_iter().map(chunk).collect()
            }
            Self::Huge => vec![chunk(&frame(1, payload))],
            Self::Terminal => pieces(payload, 100_000, seed).into_iter().map(chunk).collect(),
        };
        chunks.concat()
    }

    /// The sandbox whose log is these rounds, each ended by the silence before its gate.
    fn sandbox(self, rounds: &[Vec<u8>], gates: &[Gate], seed: usize) -> Sandbox {
        let mut steps = Vec::new();
        for (payload, gate) in rounds.iter().zip(gates) {
            let wire = Bytes::from(self.wire(payload, seed));
            steps
                .extend((0..wire.len()).step_by(WRITE).map(|at| Step::Raw(wire.slice(at..wire.len().min(at + WRITE)))));
            steps.push(Step::Gate(gate.clone()));
        }
        steps.push(Step::End);
        match self {
            Self::Terminal => Sandbox::tty(Script::new(steps)),
            Self::Lines | Self::Cut | Self::Huge => Sandbox::new(Script::new(steps)),
        }
    }
}

/// One follower, on a connection of its own.
struct Follower {
    number: usize,
    reader: Reader,
    expected: Vec<u8>,
    /// Where in `expected` each round ends.
    ends: Vec<usize>,
    at: usize,
}

enum Reader {
    Http1(Client),
    Http2(Stream),
}

impl Reader {
    async fn open(gateway: &Gateway, follower: usize, target: &str) -> Self {
        if follower / 4 % 2 == 1 {
            let stream = H2::connect(gateway.address(), 65_535).await.get(target).await;
            assert_eq!(stream.head.status, 200);
            Self::Http2(stream)
        } else {
            // A small window, and the gateway soon has to keep what the client does not take.
            let mut client = Client::connect_with_window(gateway.address(), 64 * 1024).await;
            assert_eq!(client.get(target).await.status, 200);
            Self::Http1(client)
        }
    }

    async fn piece(&mut self) -> Option<Bytes> {
        match self {
            Self::Http1(client) => client.piece().await.expect("the body goes on"),
            Self::Http2(stream) => stream.piece().await.expect("the body goes on"),
        }
    }
}

impl Follower {
    async fn open(number: usize, engine: &Engine, gateway: &Gateway, gates: &[Gate]) -> Self {
        let rounds: Vec<_> = (0..gates.len()).map(|round| payload(number, round)).collect();
        let ends = rounds.iter().scan(0, |end, round| {
            *end += round.len();
            Some(*end)
        });
        let ends = ends.collect();
        let id = engine.sandbox(Shape::of(number).sandbox(&rounds, gates, number));
        // All is made before anyone connects: a connection that sends nothing meanwhile is closed after 5 s.
        tokio::task::yield_now().await;
        let reader = Reader::open(gateway, number, &logs(&id, "follow=true")).await;
        Self { number, reader, expected: rounds.concat(), ends, at: 0 }
    }

    /// A third lags in each round, another third in the next; two in nine lag to the very end.
    fn lags(&self, round: usize) -> bool {
        (self.number + round) % 3 == 1 || self.number % 9 > 6
    }

    /// Plays its part in a round.
    async fn read(&mut self, round: usize) {
        let end = if self.lags(round) { self.at + 1 } else { self.ends[round] };
        self.read_to(end).await;
    }

    /// Reads until the log was the expected one up to `end` at least.
    async fn read_to(&mut self, end: usize) {
        while self.at < end {
            let piece = self.reader.piece().await.expect("the log has not ended");
            self.compare(&piece);
        }
    }

    /// Reads to the log's proper end.
    async fn read_to_end(&mut self) {
        while let Some(piece) = self.reader.piece().await {
            self.compare(&piece);
        }
        assert_eq!(self.at, self.expected.len(), "follower {}: less than its log", self.number);
    }

    fn compare(&mut self, piece: &[u8]) {
        let (number, at) = (self.number, self.at);
        let expected = &self.expected[at..self.expected.len().min(at + piece.len())];
        if piece != expected {
            let same = piece.iter().zip(expected).take_while(|(a, b)| a == b).count();
            let shape = Shape::of(number);
            panic!("follower {number} ({shape:?}): byte {} is not its own, in a piece from {at} on", at + same);
        }
        self.at += piece.len();
    }
}

/// A read that gets all that it asked for does not tell whether there is more, and the next may take a buffer for
/// nothing. Reads ask for 4 KiB, then for twice as much each time; the buffer for 32 KiB goes to a read of 16.
#[tokio::test]
async fn a_buffer_in_which_nothing_was_read_is_handed_on_empty() {
    let engine = Engine::start();
    let gateway = Setup::docker(engine.docker_host()).env("TOKIO_WORKER_THREADS", "1").start();
    let (filling, going_on) = (Gate::new(), Gate::new());
    // With chunk and frame around it, it is just what three reads ask for.
    let payload = payload(0, 0)[..28_656].to_vec();
    let filled = chunk(&frame(1, &payload));
    assert_eq!(filled.len(), 4_096 + 8_192 + 16_384);
    let script = Script::new([
        Step::output("first"),
        Step::Gate(filling.clone()),
        Step::Raw(filled.clone().into()),
        Step::Gate(going_on.clone()),
        Step::Raw(filled.into()),
        Step::End,
    ]);
    let mut client = Client::connect(gateway.address()).await;
    assert_eq!(client.get(&logs(&engine.log(script), "follow=true")).await.status, 200);
    assert_eq!(client.body_of(5).await, "first");
    filling.open();
    assert!(client.body_of(payload.len()).await == payload);
    // Another stream of the thread takes the buffer, and then the same again.
    assert!(get_once(gateway.address(), &logs(&engine.log(long_line(&payload)), "")).await.body == payload.repeat(20));
    going_on.open();
    assert!(client.body().await.expect("a proper end") == payload);
}

/// A log long enough for reads that take buffers of every length.
fn long_line(payload: &[u8]) -> Script {
    Script::new([Step::on(1, &payload.repeat(20)), Step::End])
}

/// Follows many logs of `engine` at once, through a gateway of one thread.
async fn every_byte_is_the_followers_own(engine: Engine) {
    let gateway = Setup::docker(engine.docker_host()).env("TOKIO_WORKER_THREADS", "1").start();
    let gates: [Gate; ROUNDS] = std::array::from_fn(|_| Gate::new());
    let opening = (0..FOLLOWERS).map(|number| Follower::open(number, &engine, &gateway, &gates));
    let mut followers = join_all(opening).await;
    for (round, gate) in gates.iter().enumerate() {
        join_all(followers.iter_mut().map(|follower| follower.read(round))).await;
        gate.open();
    }
    join_all(followers.iter_mut().map(Follower::read_to_end)).await;
    assert_eq!(engine.peak_logs(), FOLLOWERS);
}

#[tokio::test]
async fn streams_on_one_thread_keep_their_bytes_apart() {
    every_byte_is_the_followers_own(Engine::start()).await;
}

/// A TCP socket holds enough for reads of the full 256 KiB; a unix socket does not.
#[tokio::test]
async fn streams_in_the_largest_reads_keep_their_bytes_apart() {
    every_byte_is_the_followers_own(Engine::start_tcp()).await;
}
