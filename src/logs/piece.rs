//! What a stream of records is made of.

use std::task::{Context, Poll};

use super::{
    LogError,
    backend::Exit,
    cursor::RunId,
    record::{Mark, Records},
};

/// A stream of pieces. Dropping it releases everything behind it at once.
pub trait PieceSource: Send + 'static {
    /// Polls for the next piece. The last one is [`Piece::End`]. Not to be polled again after that or an error.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, LogError>>>;

    /// The run that the log is of.
    fn run(&self) -> RunId;

    /// As [`super::backend::Backend::drops_newlines`].
    fn drops_newlines(&self) -> bool;

    /// How many bytes were read from the backend so far.
    fn bytes_read(&self) -> u64;

    /// Whether the records' times are the backend's; if not, they are when the gateway read them.
    fn has_own_times(&self) -> bool {
        true
    }

    /// As [`super::backend::Backend::tells_streams`].
    fn tells_streams(&self) -> bool {
        true
    }
}

/// The next of a log.
#[derive(Debug, Clone)]
pub enum Piece {
    /// Before all else: something that whoever reads this log is to know.
    Notice(Notice),
    /// Before the first records: how they begin.
    Begin(Begin),
    /// Records, in the log's order.
    Records(Records),
    /// The client has seen this record, and what it goes on with is behind it. What came so far were records in front of it, of a
    /// line of the other stream that is under way.
    Seen {
        /// The record.
        mark: Mark,
        /// It does not end its line.
        is_part: bool,
    },
    /// Something is missing here.
    Gap(Gap),
    /// What follows was printed by a process that was started anew.
    Restart {
        /// When, in nanoseconds since 1970.
        started_at: i64,
        /// The run that it is.
        run: RunId,
    },
    /// Nothing more comes.
    End(End),
}

/// Something to know of a log, in our own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// For programs: capitals and underscores.
    pub code: &'static str,
    /// For people: a sentence without quotes and backslashes.
    pub message: &'static str,
}

/// How the first records are to be taken. [`Begin::default`]: as they are, from the beginning of lines on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Begin {
    /// For each stream: its first line may lack its beginning, and is left out.
    pub fragment: [bool; 2],
    /// Then so many lines that are asked for are left out.
    pub skip: u64,
    /// For each stream: when the line was begun that goes on with the first record; parts of it were sent before.
    pub in_line: [Option<i64>; 2],
    /// For each stream: those parts were left out by a filter, and so the rest is.
    pub left_out: [bool; 2],
}

/// Something that is missing. A number or a time that is not known is none: nothing is guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub reason: GapReason,
    /// The time of the last record before it, in nanoseconds since 1970.
    pub after: Option<i64>,
    /// The time of the first record behind it.
    pub before: Option<i64>,
    /// How many lines are missing.
    pub lines: Option<u64>,
}

/// Why something is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// The backend no longer has it.
    Rotated,
    /// The client did not keep up and had asked for that (`on_slow=drop`).
    Overrun,
    /// The backend could not be read.
    BackendLost,
    /// The token names a record of another run, or one that is not there.
    CursorExpired,
}

impl GapReason {
    /// The word for it on the wire (log-api.md §4).
    pub fn name(self) -> &'static str {
        match self {
            Self::Rotated => "rotated",
            Self::Overrun => "overrun",
            Self::BackendLost => "backend_lost",
            Self::CursorExpired => "cursor_expired",
        }
    }
}

/// Why nothing more comes, and how the main process ended if it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: Reason,
    /// How the process ended; empty for other reasons.
    pub exit: Exit,
}

impl End {
    /// An end without a process's end.
    pub fn of(reason: Reason) -> Self {
        Self { reason, exit: Exit::default() }
    }
}

/// Why a log ends (log-api.md §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The main process ended.
    Exited,
    /// The sandbox was deleted or has expired.
    Removed,
    /// The log was not to be followed, and all of it was sent.
    Complete,
    /// The time that was asked for is over.
    Until,
    /// The number of bytes that was asked for is reached.
    Limit,
    /// Another run began, and only one was asked for.
    Restarted,
    /// The gateway is ending.
    Drain,
    /// The client does not keep up.
    SlowClient,
    /// The backend could not be reached again in time.
    BackendLost,
    /// An administrator ended it.
    EndedByAdmin,
}

impl Reason {
    /// The word for it on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Removed => "removed",
            Self::Complete => "complete",
            Self::Until => "until",
            Self::Limit => "limit",
            Self::Restarted => "restarted",
            Self::Drain => "drain",
            Self::SlowClient => "slow_client",
            Self::BackendLost => "backend_lost",
            Self::EndedByAdmin => "ended_by_admin",
        }
    }

    /// Whether there will be no more for who comes back.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Exited | Self::Removed)
    }
}
