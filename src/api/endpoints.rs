//! `GET /sandboxes/{sandbox_id}/endpoints/{port}` (http-api.md §11).

use super::extract::Query;
use crate::{
    error::{Error, Family, Kind},
    host,
    model::{
        endpoint::{Endpoint, read_port},
        read,
        violation::{Invalid, Report},
    },
    problem::ApiError,
    router::PortOf,
    runtime::Runtime,
};

/// The header that routes a request through a gateway before the sandboxes; the server's own proxy needs none.
const ROUTING_HEADER: &str = "OpenSandbox-Ingress-To";

/// What sandbox ids begin with that come from a template; clients look for that in a response header.
const TEMPLATE_PREFIX: &str = "fsb-";

/// The address by which clients reach this server, as the configuration has it: `host[:port][/path]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicAddress(String);

/// What a client asks for.
#[derive(Debug, PartialEq)]
struct EndpointQuery {
    port: u16,
    through_server: bool,
    expires: Option<i128>,
}

/// Tells where a port of a sandbox is reached. `query` is what stands after the `?`; `public` is this
/// server's own address if the configuration has it, `host` what the client called it.
///
/// # Errors
/// A path or query that breaks a rule, or the runtime's failure.
pub async fn get(
    runtime: &dyn Runtime,
    of: &PortOf,
    query: &str,
    public: Option<&PublicAddress>,
    host: Option<&str>,
) -> Result<Endpoint, ApiError> {
    let wanted = read_query(&of.port, &Query::parse(query))?;
    if wanted.through_server && wanted.expires.is_some() {
        return Err(invalid(
            "use_server_proxy cannot be combined with expires; signed endpoints require the gateway route.",
        ));
    }
    // Also when the server's own address is what counts: a port that cannot be reached is an error either way.
    let direct = runtime.endpoint(&of.id, wanted.port, wanted.expires).await?;
    // What this server answers itself has no other address.
    if !wanted.through_server && runtime.local_execd_at(wanted.port).is_none() {
        return Ok(direct);
    }
    let base = match (public, host) {
        (Some(PublicAddress(base)), _) => base.clone(),
        (None, Some(host)) if host::authority(host).is_some() => format!("{host}{}", of.mount),
        (None, _) => return Err(invalid("An address of this server needs the Host header, or server.eip configured.")),
    };
    let PortOf { id, .. } = of;
    let mut headers = direct.headers;
    headers.retain(|name, _| !name.eq_ignore_ascii_case(ROUTING_HEADER));
    Ok(Endpoint { endpoint: format!("{base}/sandboxes/{id}/proxy/{}", wanted.port), headers })
}

/// Whether clients are to be told that the sandbox comes from a template.
pub fn is_of_template(id: &str) -> bool {
    id.starts_with(TEMPLATE_PREFIX)
}

impl PublicAddress {
    /// Reads a `server.eip`: without scheme, blanks and slashes at its end.
    pub fn of(eip: &str) -> Self {
        let eip = eip.trim().trim_end_matches('/');
        Self(eip.split_once("://").map_or(eip, |(_, rest)| rest).to_owned())
    }

    /// The path at which this server is reached from outside; empty at the root.
    pub fn path(&self) -> &str {
        self.0.find('/').map_or("", |at| &self.0[at..])
    }
}

/// Path and query are parts of their own, whose mistakes are told together.
fn read_query(port: &str, query: &Query<'_>) -> Result<EndpointQuery, Invalid> {
    let mut report = Report::new("path");
    let port = report.within("port", |report| read_port(report, port));
    let path = report.finish(port.unwrap_or_default());
    let mut report = Report::new("query");
    let through_server = query.read(&mut report, "use_server_proxy", read::boolean).unwrap_or(false);
    let expires = query.read(&mut report, "expires", read::any_integer);
    match (path, report.finish((through_server, expires))) {
        (Ok(port), Ok((through_server, expires))) => Ok(EndpointQuery { port, through_server, expires }),
        (Err(Invalid(mut violations)), Err(Invalid(more))) => {
            violations.extend(more);
            Err(Invalid(violations))
        }
        (Err(invalid), Ok(_)) | (Ok(_), Err(invalid)) => Err(invalid),
    }
}

fn invalid(text: &str) -> ApiError {
    Error::new(Family::Parameter, Kind::Invalid, text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(port: &str, query: &str) -> Result<EndpointQuery, Vec<String>> {
        let place = |violation: &super::super::extract::Violation| format!("{} {:?}", violation.rule, violation.loc);
        read_query(port, &Query::parse(query)).map_err(|invalid| invalid.0.iter().map(place).collect())
    }

    #[test]
    fn a_query_is_lenient() {
        assert_eq!(read("8080", ""), Ok(EndpointQuery { port: 8080, through_server: false, expires: None }));
        let wanted = read("+8080", "use_server_proxy=Yes&expires=-5").unwrap();
        assert_eq!(wanted, EndpointQuery { port: 8080, through_server: true, expires: Some(-5) });
        assert!(!read("0", "use_server_proxy=1&use_server_proxy=0").unwrap().through_server);
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let expected = [
            r#"int_parsing [String("path"), String("port")]"#,
            r#"bool_parsing [String("query"), String("use_server_proxy")]"#,
            r#"int_parsing [String("query"), String("expires")]"#,
        ];
        assert_eq!(read("abc", "expires=x&use_server_proxy=u").unwrap_err(), expected);
        assert_eq!(read("abc", "").unwrap_err().len(), 1);
        assert_eq!(read("1", "expires=").unwrap_err().len(), 1);
    }

    #[test]
    fn a_public_address_has_neither_scheme_nor_slash_at_its_end() {
        for eip in ["gate.example:9/x", " https://gate.example:9/x/ ", "http://gate.example:9/x//"] {
            let address = PublicAddress::of(eip);
            assert_eq!((address.0.as_str(), address.path()), ("gate.example:9/x", "/x"));
        }
        assert_eq!(PublicAddress::of("gate.example/").path(), "");
    }
}
