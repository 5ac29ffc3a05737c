//! `/sandboxes/{sandboxId}/proxy/{port}[/path]`: a server inside a sandbox, by way of the gateway (http-api.md §12).

use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response, Version, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};

use super::{Api, Caller, endpoints::PublicAddress, execd};
use crate::{
    body::Body,
    client::ClientWatch,
    error::{Error, Family, Kind},
    execd::Execd,
    http1::head::has_token,
    model::{
        endpoint::{Backend, check_port, read_port},
        violation::Report,
    },
    problem::ApiError,
    proxy::{
        Forward,
        forwarded::Forwarded,
        request_headers::{RENEW, SECURE_ACCESS},
        response_headers::Public,
        upload::Upload,
    },
    router::{PortOf, ProxyPath},
};

/// Forwards a request, or a WebSocket's handshake.
pub async fn forward(
    api: &Api,
    PortOf { id, port, mount }: PortOf,
    ProxyPath(path): ProxyPath,
    mut req: Request<Incoming>,
    Caller { peer, client, .. }: Caller,
) -> Result<Response<Body>, ApiError> {
    let port = read_path_port(&port)?;
    if let Some(local) = api.runtime.local_execd_at(port) {
        return to_execd(api, local.execd(&id)?, &id, &path, req, client).await;
    }
    let upgrade = handshake(&mut req)?;
    let place = api.place(&id);
    api.proxy.admit(&place, req.headers())?;
    let backend = api.runtime.backend(&id, port).await.map_err(without_engine)?;
    check_access(&backend, req.headers())?;
    touch(api, &id, req.headers());
    let prefix = public_prefix(api.public.as_ref(), mount, &path, req.uri().path());
    let public = Some(Public { prefix, is_root: path.is_empty() });
    let (head, body) = req.into_parts();
    let upload = Upload::of_client(body, &head, api.proxy.timeouts());
    let forwarded = Forwarded::of(&peer, &head.uri, &head.headers);
    let forward =
        Box::new(Forward { id: place, backend, path, head, forwarded, trace: api.metrics.traces().current(), public });
    Ok(api.proxy.forward(forward, upload, upgrade, client).await?.map(Body::from))
}

/// Reads the port of a path.
///
/// # Errors
///
/// It is no number (422), or none that a port has (400).
fn read_path_port(port: &str) -> Result<u16, ApiError> {
    if port.len() <= 5
        && let Ok(port @ 1..) = port.parse()
    {
        return Ok(port);
    }
    let mut report = Report::new("path");
    let number = report.within("port", |report| read_port(report, port));
    let port = report.finish(number)?.unwrap_or(0);
    check_port(port)?;
    Ok(port)
}

/// The engine's own words are not for who has no key: they name its address and what it runs.
fn without_engine(error: Error) -> ApiError {
    let is_engine_s = matches!(
        error.key(),
        (Family::Query, Kind::Unavailable) | (Family::Startup | Family::KubeApi | Family::KubeAccess, _)
    );
    let error = ApiError::from(error);
    if is_engine_s { error.with_message("The sandbox could not be looked up.") } else { error }
}

/// Answers what is for an execd that is this program's own.
async fn to_execd(
    api: &Api,
    execd: Arc<Execd>,
    id: &str,
    path: &str,
    req: Request<Incoming>,
    client: ClientWatch,
) -> Result<Response<Body>, ApiError> {
    execd.admit(execd::presented(req.headers()))?;
    touch(api, id, req.headers());
    execd::answer(execd, path, req, client, api.drain.clone()).await
}

/// Renews a sandbox that is used, unless the client does not want that.
fn touch(api: &Api, id: &str, headers: &HeaderMap) {
    if headers.get(RENEW).is_none_or(|value| value != "skip") {
        api.renewer.touched(id);
    }
}

/// The client's end of a WebSocket's handshake, if the request is one.
fn handshake(req: &mut Request<Incoming>) -> Result<Option<OnUpgrade>, ApiError> {
    if !has_token(req.headers(), &header::UPGRADE, "websocket") {
        return Ok(None);
    }
    let is_handshake = req.method() == Method::GET
        && req.version() == Version::HTTP_11
        && has_token(req.headers(), &header::CONNECTION, "upgrade");
    if is_handshake { Ok(Some(hyper::upgrade::on(req))) } else { Err(ApiError::no_handshake()) }
}

/// Checks that the caller may use a secured sandbox.
pub(super) fn check_access(backend: &Backend, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(secret) = &backend.secure_access else { return Ok(()) };
    let presented = headers.get(SECURE_ACCESS).map_or(&b""[..], |value| value.as_bytes());
    if secret.matches(presented) { Ok(()) } else { Err(ApiError::secure_access()) }
}

/// Where the client finds the root of the sandbox's server: the request's own path without what was forwarded, below the
/// path by which the gateway is reached from outside if it is known.
fn public_prefix(public: Option<&PublicAddress>, mount: &str, path: &str, whole: &str) -> String {
    let prefix = whole.strip_suffix(path).unwrap_or(whole);
    match public {
        Some(public) => format!("{}{}", public.path(), prefix.strip_prefix(mount).unwrap_or(prefix)),
        None => prefix.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, StatusCode};

    use super::*;
    use crate::secret::Secret;

    #[test]
    fn the_prefix_is_what_the_client_asked_for() {
        let prefix = |public: Option<&str>, whole: &str, path: &str, mount: &str| {
            public_prefix(public.map(PublicAddress::of).as_ref(), mount, path, whole)
        };
        let whole = "/v1/sandboxes/a%20b/proxy/80/x/y";
        assert_eq!(prefix(None, whole, "/x/y", "/v1"), "/v1/sandboxes/a%20b/proxy/80");
        assert_eq!(prefix(Some("gw.example"), whole, "/x/y", "/v1"), "/sandboxes/a%20b/proxy/80");
        assert_eq!(prefix(Some(" https://gw.example/base/ "), whole, "/x/y", "/v1"), "/base/sandboxes/a%20b/proxy/80");
        assert_eq!(prefix(None, "/sandboxes/x/proxy/80", "", ""), "/sandboxes/x/proxy/80");
    }

    #[test]
    fn a_secured_sandbox_wants_its_token() {
        let checked = |presented: Option<&'static str>| {
            let mut backend = Backend::plain("x:1".to_owned());
            backend.secure_access = Some(Secret::new("t0ken"));
            let mut headers = HeaderMap::new();
            if let Some(presented) = presented {
                headers.insert(SECURE_ACCESS, HeaderValue::from_static(presented));
            }
            check_access(&backend, &headers).map_err(|error| (error.status.as_u16(), error.body.code))
        };
        assert_eq!(checked(Some("t0ken")), Ok(()));
        for wrong in [None, Some(""), Some("t0ke"), Some("t0ken2"), Some("T0ken")] {
            assert_eq!(checked(wrong), Err((401, "MISSING_OR_INVALID_SECURE_ACCESS")), "{wrong:?}");
        }
        assert!(check_access(&Backend::plain("x:1".to_owned()), &HeaderMap::new()).is_ok());
    }

    #[test]
    fn a_cluster_s_words_are_not_for_who_has_no_key() {
        let words = r#"User "system:serviceaccount:osb:gateway" cannot get"#;
        for (family, kind) in [(Family::KubeAccess, Kind::Denied), (Family::KubeApi, Kind::Failed)] {
            let error = without_engine(Error::new(family, kind, words));
            assert_eq!(error.body.message, "The sandbox could not be looked up.");
        }
        let missing = without_engine(Error::new(Family::KubeSandbox, Kind::NotFound, "Sandbox 'x' not found"));
        assert_eq!(missing.body.message, "Sandbox 'x' not found");
    }

    #[test]
    fn junk_is_one_fault_and_a_number_out_of_range_another() {
        assert_eq!(read_path_port("1").ok(), Some(1));
        assert_eq!(read_path_port("65535").ok(), Some(65_535));
        let zeros = format!("{}8000", "0".repeat(40_000));
        for port in ["0", "65536", "-1", "99999999999999999999999999999999999999999999", "008000", &zeros] {
            let error = read_path_port(port).unwrap_err();
            assert_eq!((error.status, error.body.code), (StatusCode::BAD_REQUEST, "DOCKER::INVALID_PORT"), "{port}");
        }
        for port in ["", "abc", "8a", "80.5", "0x50", "\u{0668}"] {
            let error = read_path_port(port).unwrap_err();
            assert_eq!(error.status, StatusCode::UNPROCESSABLE_ENTITY, "{port}");
            let detail = error.body.detail.unwrap();
            assert_eq!((&detail[0]["type"], &detail[0]["loc"][1]), (&"int_parsing".into(), &"port".into()), "{port}");
        }
    }
}
