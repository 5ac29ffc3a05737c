//! Tenants by a service: it is asked whose a key is, and its answer counts for as long as it says.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde::Deserialize;
use tokio::{sync::Semaphore, time::Instant};
use url::Url;

use super::{Digest, Unavailable, tenant};
use crate::{error_chain, https, keyed_lock::KeyedLock, model::tenant::Tenant, secret::Secret};

/// The header in which the key is sent, as clients send it here.
const KEY: HeaderName = HeaderName::from_static("open-sandbox-api-key");

/// How long an answer counts that does not say.
const DEFAULT_TTL: Duration = Duration::from_secs(30);

/// The longest that an answer counts, whatever it says: a key that was taken back must end some time.
const MAX_TTL: Duration = Duration::from_secs(24 * 3600);

/// The longest answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// The most keys that are remembered.
const MAX_KNOWN: usize = 10_000;

/// The most questions at once: who guesses keys must not take the service away from others' clients.
const MAX_QUESTIONS: usize = 64;

/// How long a connection to the service is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A service that knows tenants.
#[derive(Debug)]
pub(super) struct Http {
    endpoint: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    client: legacy::Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    timeout: Duration,
    max_stale: Duration,
    known: Mutex<HashMap<Digest, Known>>,
    questions: Semaphore,
    /// One question a key; how it failed last, and when.
    asking: KeyedLock<Option<(Instant, Unavailable)>>,
}

#[derive(Debug, Clone)]
struct Known {
    tenant: Arc<Tenant>,
    fresh_until: Instant,
}

/// What the service answers.
#[derive(Deserialize)]
struct Answer {
    namespace: String,
    ttl: Option<f64>,
}

impl Http {
    /// What asks `endpoint`, with the header `auth` on each question.
    pub(super) fn new(
        endpoint: &Secret,
        auth: Option<&(String, Secret)>,
        timeout: Duration,
        max_stale: Duration,
    ) -> Result<Self, String> {
        let unusable = || "tenants.endpoint is no http or https URL".to_owned();
        let mut url = Url::parse(endpoint.expose().trim()).map_err(|_| unusable())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(unusable());
        }
        let mut headers = Vec::new();
        if let Some(mut value) = https::basic(&url).and_then(|value| HeaderValue::try_from(value).ok()) {
            value.set_sensitive(true);
            headers.push((header::AUTHORIZATION, value));
        }
        url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| unusable())?;
        url.set_fragment(None);
        if let Some((name, token)) = auth {
            let name = HeaderName::try_from(name).map_err(|_| "tenants.auth_header is no header's name")?;
            let mut value =
                HeaderValue::try_from(token.expose()).map_err(|_| "tenants.auth_token cannot be sent in a header")?;
            value.set_sensitive(true);
            headers.push((name, value));
        }
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(https::client_config()).https_or_http().enable_http1().build();
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder.pool_idle_timeout(IDLE_TIMEOUT).pool_timer(TokioTimer::new());
        Ok(Self {
            endpoint: Uri::try_from(url.as_str()).map_err(|_| unusable())?,
            headers,
            client: builder.build(connector),
            timeout,
            max_stale,
            known: Mutex::default(),
            questions: Semaphore::new(MAX_QUESTIONS),
            asking: KeyedLock::default(),
        })
    }

    /// Whose a key is. While the service cannot be asked, what it said before counts for `max_stale` longer.
    pub(super) async fn find(&self, digest: Digest, key: &[u8]) -> Result<Option<Arc<Tenant>>, Unavailable> {
        if let Some(tenant) = self.fresh(&digest) {
            return Ok(Some(tenant));
        }
        let asked = self.ask_once(digest, key);
        let found = match tokio::time::timeout(self.timeout, asked).await {
            Ok(found) => found,
            Err(_) => {
                let text = format!("the tenant service did not answer within {} s", self.timeout.as_secs_f64());
                Err(Unavailable(text))
            }
        };
        found.or_else(|failure| {
            let now = Instant::now();
            let stale = self.known().get(&digest).filter(|known| self.is_usable(known, now)).cloned();
            match stale {
                Some(known) => {
                    tracing::warn!(
                        tenant = &*known.tenant.name,
                        "what is known of a key is used though it is old: {failure}"
                    );
                    Ok(Some(known.tenant))
                }
                None => Err(failure),
            }
        })
    }

    /// What the service said of a key, as long as it said that it counts.
    pub(super) fn fresh(&self, digest: &Digest) -> Option<Arc<Tenant>> {
        let known = self.known();
        let found = known.get(digest).filter(|known| Instant::now() < known.fresh_until)?;
        Some(Arc::clone(&found.tenant))
    }

    /// The tenants of the keys that are remembered, each once.
    pub(super) fn all(&self) -> Vec<Arc<Tenant>> {
        let mut seen = HashSet::new();
        let known = self.known();
        known.values().map(|known| &known.tenant).filter(|tenant| seen.insert(Arc::clone(tenant))).cloned().collect()
    }

    /// Asks, unless somebody else does: then its answer counts.
    async fn ask_once(&self, digest: Digest, key: &[u8]) -> Result<Option<Arc<Tenant>>, Unavailable> {
        let since = Instant::now();
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut failed = self.asking.lock(&name).await;
        if let Some(tenant) = self.fresh(&digest) {
            return Ok(Some(tenant));
        }
        if let Some((_, failure)) = failed.as_ref().filter(|(when, _)| *when >= since) {
            return Err(failure.clone());
        }
        // It is never closed.
        let _place = self.questions.acquire().await;
        match self.ask(key).await {
            Ok(Some((tenant, ttl))) => {
                self.remember(digest, Known { tenant: Arc::clone(&tenant), fresh_until: Instant::now() + ttl });
                Ok(Some(tenant))
            }
            Ok(None) => {
                self.known().remove(&digest);
                Ok(None)
            }
            Err(why) => {
                tracing::warn!("a tenant's key cannot be checked: {why}");
                *failed = Some((Instant::now(), Unavailable(why.clone())));
                Err(Unavailable(why))
            }
        }
    }

    async fn ask(&self, key: &[u8]) -> Result<Option<(Arc<Tenant>, Duration)>, String> {
        let mut request = Request::get(self.endpoint.clone()).header(header::ACCEPT, "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let Ok(mut key) = HeaderValue::from_bytes(key) else { return Ok(None) };
        key.set_sensitive(true);
        let request = request.header(KEY, key).body(Empty::new()).map_err(|error| error.to_string())?;
        let answer = self.client.request(request).await;
        let answer =
            answer.map_err(|error| format!("no answer of the tenant service: {}", error_chain::text(&error)))?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => return Ok(None),
            status => return Err(format!("the tenant service answered {status}")),
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body =
            body.map_err(|error| format!("the tenant service's answer broke off: {}", error_chain::text(&*error)))?;
        let Answer { namespace, ttl } = serde_json::from_slice(&body.to_bytes())
            .map_err(|_| "the tenant service's answer is no object with a namespace".to_owned())?;
        let tenant = tenant(&namespace, &namespace).map_err(|why| format!("the tenant service's answer: {why}"))?;
        let ttl = match ttl {
            None => DEFAULT_TTL,
            Some(seconds) => Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(MAX_TTL).min(MAX_TTL),
        };
        Ok(Some((Arc::new(tenant), ttl)))
    }

    /// Whether what is known of a key counts while the service cannot be asked.
    fn is_usable(&self, known: &Known, now: Instant) -> bool {
        known.fresh_until.checked_add(self.max_stale).is_none_or(|end| now < end)
    }

    fn remember(&self, digest: Digest, new: Known) {
        let now = Instant::now();
        let mut known = self.known();
        if known.len() >= MAX_KNOWN && !known.contains_key(&digest) {
            known.retain(|_, known| self.is_usable(known, now));
        }
        if known.len() >= MAX_KNOWN && !known.contains_key(&digest) {
            let oldest = known.iter().min_by_key(|(_, known)| known.fresh_until).map(|(digest, _)| *digest);
            known.remove(&oldest.unwrap_or_default());
        }
        known.insert(digest, new);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Digest, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
