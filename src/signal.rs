//! The signals that mean something here, and what they ask for.
//!
//! SIGTERM and SIGINT ask the program to end, SIGHUP asks it to open its log files and read its keys again. SIGUSR1 and
//! SIGUSR2, which other servers open their log files at, are told to mean nothing, since by themselves they would kill.

use std::{io, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The signals.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

/// A signal that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caught {
    /// Of a person at the terminal, who wants the program to end.
    Interrupt,
    /// Of whoever runs the program, that it end.
    Terminate,
    /// Of whoever has moved its log files or changed its keys.
    Hangup,
    /// One without a meaning.
    Other(&'static str),
}

impl Signals {
    /// Takes the signals over; from now on they do not kill the process by themselves.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the next of them.
    pub async fn next(&mut self) -> Caught {
        tokio::select! {
            _ = self.interrupt.recv() => Caught::Interrupt,
            _ = self.terminate.recv() => Caught::Terminate,
            _ = self.hangup.recv() => Caught::Hangup,
            _ = self.user1.recv() => Caught::Other("SIGUSR1"),
            _ = self.user2.recv() => Caught::Other("SIGUSR2"),
        }
    }
}

impl Caught {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
            Self::Other(name) => name,
        }
    }

    /// The exit code of a process that it ends.
    pub fn exit_code(self) -> i32 {
        let kind = match self {
            Self::Interrupt => SignalKind::interrupt(),
            Self::Terminate => SignalKind::terminate(),
            Self::Hangup => SignalKind::hangup(),
            Self::Other("SIGUSR1") => SignalKind::user_defined1(),
            Self::Other(_) => SignalKind::user_defined2(),
        };
        128 + kind.as_raw_value()
    }
}

/// How far the program is asked to end. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    asked: CancellationToken,
    hurried: CancellationToken,
}

/// What one more request to end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The end begins, after the delay if there is one.
    Begin,
    /// The delay is over.
    Hurry,
    /// Nothing is waited for any more.
    AtOnce,
}

impl Stop {
    /// Asks the program to end; a second request ends the delay before it does, and the next one what it still does. Without
    /// `delay`, the first one ends the delay as well.
    pub fn ask(&self, delay: bool) -> Asked {
        let asked = match (self.asked.is_cancelled(), self.hurried.is_cancelled()) {
            (false, _) => Asked::Begin,
            (true, false) => Asked::Hurry,
            (true, true) => Asked::AtOnce,
        };
        self.asked.cancel();
        if !delay || asked == Asked::Hurry {
            self.hurried.cancel();
        }
        asked
    }

    /// Resolves when the program is asked to end.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Resolves after `delay`, or when the next request comes.
    pub async fn delayed(&self, delay: Duration) {
        // An error is the end of the time.
        let _ = tokio::time::timeout(delay, self.hurried.cancelled()).await;
        self.hurried.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_request_hurries_the_one_before() {
        let stop = Stop::default();
        assert_eq!(stop.ask(true), Asked::Begin);
        stop.asked().await;
        assert_eq!(stop.ask(true), Asked::Hurry);
        stop.delayed(Duration::from_secs(3600)).await;
        assert_eq!((stop.ask(true), stop.ask(false)), (Asked::AtOnce, Asked::AtOnce));
    }

    #[tokio::test]
    async fn without_a_delay_the_second_request_ends_at_once() {
        let stop = Stop::default();
        assert_eq!((stop.ask(false), stop.ask(true)), (Asked::Begin, Asked::AtOnce));
        let stop = Stop::default();
        assert_eq!(stop.ask(true), Asked::Begin);
        stop.delayed(Duration::ZERO).await;
        assert_eq!(stop.ask(true), Asked::AtOnce);
    }
}
