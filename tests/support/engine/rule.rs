//! Faults of the scripted engine: what it does with some requests in the place of its answer.

use super::reply::Request;

/// What the engine does with a request.
#[derive(Debug, Clone)]
pub enum Action {
    /// Takes it and never answers.
    Hang,
    /// Answers with this status and message.
    Fail(u16, &'static str),
    /// Answers with this JSON.
    Answer(&'static str),
    /// Refuses with this status, and quotes the whole last body that had variables in it, once more escaped.
    Quote(u16),
}

/// A fault for the requests with this method and this text in their target.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) method: &'static str,
    pub(super) text: String,
    pub(super) action: Action,
}

impl Rule {
    pub(super) fn is_for(&self, request: &Request) -> bool {
        request.method == self.method && request.target.contains(&self.text)
    }
}
