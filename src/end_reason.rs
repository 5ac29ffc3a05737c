//! Why a response ended, for the access line.

use std::fmt;

/// Why a response's body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// All of it was handed over.
    Complete,
    /// The client left before.
    ClientGone,
    /// The client took nothing for the write-stall timeout.
    SlowClient,
    /// The backend's connection broke off.
    BackendLost,
    /// The backend broke its protocol or reported a failure.
    BackendFailed,
    /// The gateway is ending.
    Drained,
    /// The gateway has ended before the client had taken everything.
    Cut,
    /// An administrator ended it (`DELETE /admin/streams/{id}`).
    EndedByAdmin,
}

impl EndReason {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Complete,
        Self::ClientGone,
        Self::SlowClient,
        Self::BackendLost,
        Self::BackendFailed,
        Self::Drained,
        Self::Cut,
        Self::EndedByAdmin,
    ];

    /// The word for it in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientGone => "client_gone",
            Self::SlowClient => "slow_client",
            Self::BackendLost => "backend_lost",
            Self::BackendFailed => "backend_failed",
            Self::Drained => "drained",
            Self::Cut => "cut",
            Self::EndedByAdmin => "ended_by_admin",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
