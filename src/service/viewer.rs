//! The browser viewer's side of the service: its files, and of the API what its page asks for, all of it reading.
//!
//! The viewer has an origin of its own, so that no page of a sandbox, which comes through the API's origin, sees its key. And no
//! page of another origin sees anything here: `Host` must be a name of this listener (DNS rebinding), `Origin` and
//! `Sec-Fetch-Site` must tell of no other page, and no answer has a header that lets another origin read it.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header,
    uri::{Authority, PathAndQuery},
};

use super::origin::{FETCH_SITE, single};
use crate::{
    api::ui,
    body::Body,
    host,
    problem::ApiError,
    response,
    router::{self, Route},
};

/// Where the page is.
const HOME: &str = "/ui/";

/// What the files are counted under in metrics.
const TEMPLATE: &str = "/ui/{file:path}";

const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// What every answer says to browsers. The page loads from here alone, runs no text as a script (trusted types, which
/// are none), and shares nothing with other pages.
const PROTECTION: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         font-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// What the viewer's listener answers to.
#[derive(Debug)]
pub struct Viewer {
    names: Vec<Authority>,
}

/// What a request wants of the viewer's listener.
#[derive(Debug, PartialEq, Eq)]
enum Wanted<'p> {
    /// The page, by an address that is not quite its own.
    Home,
    /// A file below [`HOME`].
    File(&'p str),
    /// A call of the API that is passed on.
    Call,
    /// What is not here.
    Nothing,
}

impl Viewer {
    /// A viewer that has these names besides those of the loopback interface and the addresses on which it is reached. A
    /// name without a port is meant with any.
    pub fn new(names: Vec<Authority>) -> Self {
        Self { names }
    }

    /// Answers what is the viewer's own; `None` for what the API has to answer. The connection has come to the address `local`.
    ///
    /// # Errors
    ///
    /// The request is another page's, under another name, or for what is not here.
    pub async fn answer<B>(&self, req: &Request<B>, local: IpAddr) -> Result<Option<Response<Body>>, ApiError> {
        let wanted = wanted(req);
        self.check(req, &wanted, local)?;
        let is_read = matches!(*req.method(), Method::GET | Method::HEAD);
        match wanted {
            Wanted::Call => Ok(None),
            Wanted::Home | Wanted::File(_) if !is_read => Err(ApiError::method_not_allowed("GET, HEAD")),
            Wanted::Home => Ok(Some(to_home())),
            Wanted::File(name) => ui::answer(name, req.headers()).await.map(Some),
            Wanted::Nothing => Err(ApiError::no_route_of(
                "The viewer's listener has /ui/, and of the API what the viewer reads: GET of /v1/sandboxes, \
                 /v1/sandboxes/{id}, /v1/sandboxes/{id}/logs, /version and /health. All else is on the API's own listener.",
            )),
        }
    }

    fn check<B>(&self, req: &Request<B>, wanted: &Wanted<'_>, local: IpAddr) -> Result<(), ApiError> {
        let headers = req.headers();
        let told = single(headers, &header::HOST).map_err(|_| ApiError::several_hosts())?;
        let names = [told, req.uri().authority().map(Authority::as_str)];
        let host = names.into_iter().flatten().next().ok_or_else(ApiError::unknown_host)?;
        if !names.into_iter().flatten().all(|name| self.is_own(name, local)) {
            return Err(ApiError::unknown_host());
        }
        let origin = single(headers, &header::ORIGIN).map_err(|_| ApiError::foreign_page())?;
        let is_own_page = origin.is_none_or(|origin| is_origin_of(origin, host));
        let is_near =
            headers.get_all(FETCH_SITE).iter().all(|site| matches!(site.as_bytes(), b"same-origin" | b"none"));
        // A link to the page is anybody's to have. What it opens shows nobody else anything.
        let is_link = || matches!(wanted, Wanted::Home | Wanted::File(_)) && is_navigation(headers);
        if is_own_page && (is_near || is_link()) { Ok(()) } else { Err(ApiError::foreign_page()) }
    }

    /// Whether a value of `Host` names this listener. The port may be any: no page chooses the port of its address without
    /// being served there, and tunnels and published ports change it.
    fn is_own(&self, name: &str, local: IpAddr) -> bool {
        let Some(name) = host::authority(name) else { return false };
        let host = name.host();
        let address = host::without_brackets(host).parse::<IpAddr>();
        host::is_loopback(host)
            || address.is_ok_and(|address| address.to_canonical() == local.to_canonical())
            || self.names.iter().any(|own| {
                own.host().eq_ignore_ascii_case(host) && (own.port().is_none() || own.port_u16() == name.port_u16())
            })
    }
}

/// The template of a path for metrics, if it is the viewer's own.
pub fn template(path: &str) -> Option<&'static str> {
    (path == "/" || path == "/ui" || path.starts_with(HOME)).then_some(TEMPLATE)
}

/// Tells browsers what the page may do, in whatever answer.
pub fn protect(headers: &mut HeaderMap) {
    for (name, value) in PROTECTION {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn wanted<B>(req: &Request<B>) -> Wanted<'_> {
    let path = req.uri().path_and_query().map_or("", PathAndQuery::path);
    match path {
        "/" | "/ui" => return Wanted::Home,
        _ => {}
    }
    if let Some(name) = path.strip_prefix(HOME) {
        return Wanted::File(name);
    }
    match router::route(req.method(), path) {
        Ok(Route::Health | Route::Version) => Wanted::Call,
        Ok(Route::ListSandboxes | Route::GetSandbox(_) | Route::Logs(_)) if path.starts_with("/v1/") => Wanted::Call,
        Ok(_) | Err(_) => Wanted::Nothing,
    }
}

fn to_home() -> Response<Body> {
    let mut res = response::empty(StatusCode::PERMANENT_REDIRECT);
    res.headers_mut().insert(header::LOCATION, HeaderValue::from_static(HOME));
    // The next program on this port may have something else there.
    res.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    res
}

/// Whether a browser opens a document in a window, so that what is answered is shown and not read.
fn is_navigation(headers: &HeaderMap) -> bool {
    let is =
        |name: HeaderName, wanted: &str| headers.get(name).is_some_and(|value| value.as_bytes() == wanted.as_bytes());
    is(FETCH_MODE, "navigate") && is(FETCH_DEST, "document")
}

/// Whether a page's origin is that of a server that it calls `host`.
fn is_origin_of(origin: &str, host: &str) -> bool {
    let Some((scheme, page)) = origin.split_once("://") else { return false };
    let default = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let (Some(page), Some(host)) = (host::authority(page), host::authority(host)) else { return false };
    let port = |of: &Authority| of.port_u16().unwrap_or(default);
    page.host().eq_ignore_ascii_case(host.host()) && port(&page) == port(&host)
}

#[cfg(test)]
mod tests;
