//! Faults on demand: what a network, a load balancer or a dying server does to a log.

use std::time::Duration;

use super::LogRequest;

/// How a body that is cut ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As the API server ends it when the kubelet is lost (F1): indistinguishable from a proper end.
    Clean,
    /// With the connection, as when the API server is lost (F4).
    Abort,
    /// Not at all: nothing more comes, and nobody says so.
    Silence,
}

/// What happens.
#[derive(Debug, Clone)]
pub(super) enum What {
    Cut { after: usize, ending: Ending },
    Text { after: usize, text: String },
    LateHead(Duration),
    NoHead,
    Refuse { status: u16, content_type: String, text: String },
}

/// Something that goes wrong with the next requests that it fits; with one request if nothing else is said.
#[derive(Debug, Clone)]
pub struct Fault {
    what: What,
    pod: Option<String>,
    only_follows: bool,
    times: usize,
    /// So many requests that it fits go by first.
    behind: usize,
}

impl Fault {
    fn new(what: What) -> Self {
        Self { what, pod: None, only_follows: false, times: 1, behind: 0 }
    }

    /// So many requests that it fits go by first.
    pub fn behind(mut self, requests: usize) -> Self {
        self.behind = requests;
        self
    }

    /// The body ends after `after` bytes. A body that has fewer ends as it would have.
    pub fn cut(after: usize, ending: Ending) -> Self {
        Self::new(What::Cut { after, ending })
    }

    /// After `after` bytes come this text and a clean end, as the kubelet writes its own errors (E1 to E5).
    pub fn text(after: usize, text: &str) -> Self {
        Self::new(What::Text { after, text: text.to_owned() })
    }

    /// The head comes so much later.
    pub fn late_head(delay: Duration) -> Self {
        Self::new(What::LateHead(delay))
    }

    /// No head ever comes.
    pub fn no_head() -> Self {
        Self::new(What::NoHead)
    }

    /// Something before the kubelet answers instead of it.
    pub fn refuse(status: u16, content_type: &str, text: &str) -> Self {
        Self::new(What::Refuse { status, content_type: content_type.to_owned(), text: text.to_owned() })
    }

    /// Only requests for this pod.
    pub fn of(mut self, pod: &str) -> Self {
        self.pod = Some(pod.to_owned());
        self
    }

    /// Only follows.
    pub fn follows(mut self) -> Self {
        self.only_follows = true;
        self
    }

    /// So many requests.
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Every request until [`super::PodLogs::heal`].
    pub fn always(self) -> Self {
        self.times(usize::MAX)
    }
}

/// A fault that waits for its requests.
pub(super) struct Armed(Fault);

impl From<Fault> for Armed {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl Armed {
    /// What happens to this request, if it fits.
    fn take(&mut self, request: &LogRequest<'_>, is_follow: bool) -> Option<What> {
        let fault = &mut self.0;
        let fits = fault.times > 0
            && fault.pod.as_deref().is_none_or(|pod| pod == request.name)
            && (is_follow || !fault.only_follows);
        if fits && fault.behind > 0 {
            fault.behind -= 1;
            return None;
        }
        fits.then(|| {
            fault.times -= 1;
            fault.what.clone()
        })
    }
}

/// Takes from each kind of fault at most one.
pub(super) fn take(armed: &mut Vec<Armed>, request: &LogRequest<'_>, is_follow: bool) -> Vec<What> {
    let mut taken: Vec<What> = Vec::new();
    for fault in armed.iter_mut() {
        let kind = std::mem::discriminant(&fault.0.what);
        if !taken.iter().any(|what| std::mem::discriminant(what) == kind) {
            taken.extend(fault.take(request, is_follow));
        }
    }
    armed.retain(|fault| fault.0.times > 0);
    taken
}
