//! Whether calls on volumes are permitted, by which gateways know of each other: a proxy before the engine or an
//! authorization plugin may refuse them.
//!
//! A refusal is not a failure. After a failure the call is repeated, and no sandbox ends meanwhile. After a refusal the
//! gateway goes by its own files, as the Python server does. A refusal after a call was permitted once is a failure.

use std::sync::atomic::{AtomicBool, Ordering};

use bollard::errors::Error as EngineError;

use crate::runtime::docker::engine::{is_refusal, text};

/// A call on volumes.
#[derive(Debug, Clone, Copy)]
pub(in crate::runtime::docker::lifecycle) enum Call {
    Inspect,
    List,
    Create,
}

/// What was seen of the calls.
#[derive(Debug, Default)]
pub(in crate::runtime::docker::lifecycle) struct Permits {
    granted: [AtomicBool; 3],
    /// A refusal was told.
    is_told: AtomicBool,
}

impl Permits {
    /// The outcome of a call; nothing if it is refused. The first refusal is logged.
    ///
    /// # Errors
    /// The call failed.
    pub(in crate::runtime::docker::lifecycle) fn judge<T>(
        &self,
        call: Call,
        outcome: Result<T, EngineError>,
    ) -> Result<Option<T>, EngineError> {
        let granted = &self.granted[call as usize];
        match outcome {
            Ok(found) => {
                granted.store(true, Ordering::Relaxed);
                Ok(Some(found))
            }
            Err(error) if is_refusal(&error) && !granted.load(Ordering::Relaxed) => {
                if !self.is_told.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        ?call,
                        error = text(&error),
                        "CALLS ON VOLUMES ARE REFUSED, by which gateways on one engine know of each other: this one goes by \
                         its own files, as if it were alone there. Where another gateway uses the engine, let GET /volumes, \
                         GET and DELETE /volumes/{{name}} and POST /volumes/create through, or set docker.expiry = \"own\" in both"
                    );
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status_code: u16) -> Result<(), EngineError> {
        Err(EngineError::DockerResponseServerError { status_code, message: String::new() })
    }

    #[test]
    fn a_refusal_is_no_failure_until_the_call_was_granted() {
        let permits = Permits::default();
        for status in [401, 403, 404, 405, 501] {
            assert!(permits.judge(Call::List, answered(status)).unwrap().is_none(), "{status}");
        }
        for status in [400, 409, 429, 500, 502, 503, 504] {
            assert!(permits.judge(Call::List, answered(status)).is_err(), "{status}");
        }
        assert!(permits.judge::<()>(Call::List, Err(EngineError::RequestTimeoutError)).is_err());
        assert!(permits.judge(Call::List, Ok(())).unwrap().is_some());
        assert!(permits.judge(Call::List, answered(403)).is_err(), "it is there");
        assert!(permits.judge(Call::Create, answered(403)).unwrap().is_none(), "the one does not speak for the other");
    }
}
