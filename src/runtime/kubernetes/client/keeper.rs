//! What the API server is asked with: credentials, certificates, connections. Loaded anew before they are too old, and when the
//! API server no longer takes them.
//!
//! Everything is loaded together and replaced together, with the pool of connections: one that was made with an old certificate
//! keeps that certificate for as long as it lives.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::Limited;
use hyper::body::Incoming;
use jiff::Timestamp;
use kube::client::Body;
use tokio::sync::Notify;
use tower::{BoxError, Service, ServiceExt, util::BoxCloneSyncService};

use super::{
    access::{Access, Source},
    answers::Answers,
    connector::Connector,
    dressed,
    failure::{NoCredentials, is_distrust},
    log::{self, Dressed},
};

/// How old the configuration may be. Certificates on disk are replaced long before they expire.
const MAX_AGE: Duration = Duration::from_secs(600);

/// How long before they expire credentials are replaced, or a quarter of their time if that is shorter.
const MARGIN: Duration = Duration::from_secs(60);

/// The shortest time between two loads because of an expiry, and between the first two because of refusals.
const MIN_AGE: Duration = Duration::from_secs(1);

/// The longest time between two loads because of refusals: each that does not help doubles it.
const MAX_PATIENCE: Duration = Duration::from_secs(60);

/// When a load that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// After how long a load that hangs is told of, or gives up if it is the first. Longer than a plugin may take.
const LOAD_TIMEOUT: Duration = Duration::from_secs(65);

/// What one load gave.
pub(super) struct Live {
    calls: BoxCloneSyncService<Request<Body>, Response<Limited<Incoming>>, BoxError>,
    pub(super) dressed: Dressed,
    pub(super) connector: Connector,
    expires: Option<Timestamp>,
    is_anonymous: bool,
}

/// Keeps the newest.
#[derive(Clone)]
pub(super) struct Keeper(Arc<Shared>);

struct Shared {
    source: Source,
    state: Mutex<State>,
    loaded: Notify,
}

struct State {
    live: Arc<Live>,
    /// When it is loaded again.
    due: Instant,
    /// When the last load began.
    began: Instant,
    /// There is one load at a time, however long it takes.
    is_loading: bool,
    /// Why the last load failed.
    failure: Option<String>,
    /// How long after the last load a refusal is a reason for another one.
    patience: Duration,
}

impl Keeper {
    /// Loads for the first time.
    ///
    /// # Errors
    ///
    /// What is missing or wrong, in words without secrets.
    pub(super) async fn new(source: Source) -> Result<(Self, Access), String> {
        let began = Instant::now();
        let access = match tokio::time::timeout(LOAD_TIMEOUT, source.load()).await {
            Ok(access) => access?,
            Err(_) => return Err(hangs(&source)),
        };
        let live = Live::new(&access)?;
        let state =
            State { due: live.due(), live: Arc::new(live), began, is_loading: false, failure: None, patience: MIN_AGE };
        Ok((Self(Arc::new(Shared { source, state: Mutex::new(state), loaded: Notify::new() })), access))
    }

    /// The newest that was loaded; only while its credentials have expired does this wait for those that are being loaded.
    ///
    /// # Errors
    ///
    /// The credentials have expired and loading new ones failed.
    pub(super) async fn current(&self) -> Result<Arc<Live>, NoCredentials> {
        loop {
            let mut loaded = pin!(self.0.loaded.notified());
            loaded.as_mut().enable();
            {
                let mut state = self.state();
                if state.due <= Instant::now() {
                    self.begin(&mut state);
                }
                match &state.failure {
                    _ if !state.live.is_expired() => return Ok(Arc::clone(&state.live)),
                    _ if state.is_loading => {}
                    Some(why) => return Err(NoCredentials(why.clone())),
                    // A plugin, or the clock here, is wrong: the API server decides.
                    None => return Ok(Arc::clone(&state.live)),
                }
            }
            loaded.await;
        }
    }

    /// The newest that was loaded, whether or not it is too old.
    pub(super) fn latest(&self) -> Arc<Live> {
        Arc::clone(&self.state().live)
    }

    /// The API server did not take the credentials of `live` (401), or its certificate was not one that `live` trusts: the files,
    /// or the plugin, may have others by now.
    pub(super) fn refused(&self, live: &Arc<Live>) {
        let mut state = self.state();
        if !Arc::ptr_eq(&state.live, live) || state.began.elapsed() < state.patience {
            return;
        }
        let is_new = state.began.elapsed() > 2 * MAX_PATIENCE;
        state.patience = if is_new { MIN_AGE } else { (2 * state.patience).min(MAX_PATIENCE) };
        self.begin(&mut state);
    }

    fn begin(&self, state: &mut State) {
        if state.is_loading {
            return;
        }
        state.is_loading = true;
        state.began = Instant::now();
        let keeper = self.clone();
        tokio::spawn(async move { keeper.load().await });
    }

    async fn load(self) {
        let _flight = Flight(&self);
        let source = &self.0.source;
        let mut loading = pin!(source.load());
        let access = match tokio::time::timeout(LOAD_TIMEOUT, &mut loading).await {
            Ok(access) => access,
            Err(_) => {
                let why = hangs(source);
                tracing::warn!("what is needed to talk to the API server cannot be loaded again: {why}");
                self.state().failure = Some(why);
                // Another load would hang as well.
                loading.await
            }
        };
        let live = access.and_then(|access| Live::new(&access));
        let mut state = self.state();
        let live = live.and_then(|live| match live.is_anonymous && !state.live.is_anonymous {
            false => Ok(live),
            true => Err(format!("{} has no credentials any more", source.place())),
        });
        match live {
            Ok(live) => {
                state.due = live.due();
                state.live = Arc::new(live);
                state.failure = None;
            }
            Err(why) => {
                tracing::warn!(
                    "what is needed to talk to the API server cannot be loaded again, so the old is used: {why}"
                );
                state.due = Instant::now() + RETRY;
                state.failure = Some(why);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A load that goes on; it is over when this is dropped, also by a panic.
struct Flight<'a>(&'a Keeper);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.state().is_loading = false;
        self.0.0.loaded.notify_waiters();
    }
}

impl Live {
    fn new(access: &Access) -> Result<Self, String> {
        let connector = Connector::new(access)?;
        let auth = access.auth.as_ref();
        let unusable = |error: kube::Error| error.to_string();
        Ok(Self {
            calls: dressed(&access.config, auth, Answers::new(connector.clone())).map_err(unusable)?,
            dressed: log::dressed(&access.config, auth).map_err(unusable)?,
            connector,
            expires: access.expires,
            is_anonymous: access.is_anonymous(),
        })
    }

    fn is_expired(&self) -> bool {
        self.expires.is_some_and(|at| at <= Timestamp::now())
    }

    fn due(&self) -> Instant {
        let left = self.expires.map_or(MAX_AGE, |at| {
            let left = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
            (left - MARGIN.min(left / 4)).clamp(MIN_AGE, MAX_AGE)
        });
        Instant::now() + left
    }
}

/// Below kube's client.
impl Service<Request<Body>> for Keeper {
    type Response = Response<Limited<Incoming>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let keeper = self.clone();
        Box::pin(async move {
            let live = keeper.current().await?;
            let result = live.calls.clone().oneshot(request).await;
            if result.as_ref().is_err_and(is_refusal) {
                keeper.refused(&live);
            }
            result
        })
    }
}

fn is_refusal(error: &BoxError) -> bool {
    if let Some(kube::Error::Api(status)) = error.downcast_ref() {
        return status.code == 401;
    }
    let mut error: Option<&(dyn std::error::Error + 'static)> = Some(error.as_ref());
    while let Some(cause) = error {
        if cause.downcast_ref().is_some_and(is_distrust) {
            return true;
        }
        error = cause.source();
    }
    false
}

fn hangs(source: &Source) -> String {
    format!("{}, or what it names, hangs: nothing came within {} s", source.place(), LOAD_TIMEOUT.as_secs())
}
