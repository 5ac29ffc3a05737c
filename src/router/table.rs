//! The table of routes, which alone names their paths, mounts and methods: requests are matched with it, 405 lists its methods,
//! metrics have its paths as labels, and `tests/spec.rs` compares it with the description.

use std::sync::LazyLock;

use http::Method;

use super::{Collection, Diagnostics, DocsFile, PortOf, ProxyPath, Route, decoded_path};

/// Where a route is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounts {
    /// At the root only.
    Root,
    /// Below `/v1` only.
    V1,
    /// At both.
    Both,
}

/// A path, and the routes that its methods lead to.
#[derive(Debug)]
pub struct Row {
    /// The path without its mount, as the existing server names it in its metrics. `{name}` stands for a segment that is not
    /// empty, `{name:path}` for all that follows the segment before it.
    pub path: &'static str,
    /// Where it is mounted.
    pub mounts: Mounts,
    /// Methods, and the route of a request with one of them.
    routes: &'static [(&'static [&'static str], MakeRoute)],
    /// Whether other methods lead to the first route too, but for two: CONNECT names a host and no path, and TRACE would show
    /// a sandbox what a proxy in between has added.
    takes_others: bool,
}

/// Makes the route of a path that matches.
type MakeRoute = fn(&Segments<'_>) -> Route;

/// The path of the logs, whose answers are streams.
pub const LOGS: &str = "/sandboxes/{sandbox_id}/logs";

/// The path of what is forwarded to a sandbox's own server, and where the paths of the rest of it begin.
pub const PROXY: &str = "/sandboxes/{sandbox_id}/proxy/{port}";

/// The paths that health checks ask for.
pub const HEALTH_CHECKS: [&str; 2] = ["/health", "/ready"];

const READ: &[&str] = &["GET", "HEAD"];
const FORWARDED: &[&str] = &["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

/// Every route; http-api.md §1 is where they come from.
pub static ROUTES: [Row; 31] = {
    use Mounts::{Both, Root, V1};
    [
        row(Root, HEALTH_CHECKS[0], &[(READ, |_| Route::Health)]),
        row(Root, HEALTH_CHECKS[1], &[(READ, |_| Route::Ready)]),
        row(Root, "/version", &[(READ, |_| Route::Version)]),
        row(Root, "/openapi.json", &[(READ, |_| Route::OpenApi)]),
        row(Root, "/docs", &[(READ, |_| Route::Docs(DocsFile::Swagger))]),
        row(Root, "/docs/oauth2-redirect", &[(READ, |_| Route::Docs(DocsFile::OAuth2Redirect))]),
        row(Root, "/docs/assets/{file}", &[(READ, |path| Route::Docs(DocsFile::Asset(path.name(2))))]),
        row(Root, "/redoc", &[(READ, |_| Route::Docs(DocsFile::Redoc))]),
        row(Both, "/sandboxes", &[(&["GET"], |_| Route::ListSandboxes), (&["POST"], |_| Route::CreateSandbox)]),
        row(
            Both,
            "/sandboxes/{sandbox_id}",
            &[
                (&["DELETE"], |path| Route::DeleteSandbox(path.name(1))),
                (&["GET"], |path| Route::GetSandbox(path.name(1))),
            ],
        ),
        row(Both, LOGS, &[(&["GET"], |path| Route::Logs(path.name(1)))]),
        row(Both, "/sandboxes/{sandbox_id}/metadata", &[(&["PATCH"], |path| Route::PatchMetadata(path.name(1)))]),
        row(Both, "/sandboxes/{sandbox_id}/pause", &[(&["POST"], |path| Route::Pause(path.name(1)))]),
        row(Both, "/sandboxes/{sandbox_id}/resume", &[(&["POST"], |path| Route::Resume(path.name(1)))]),
        row(Both, "/sandboxes/{sandbox_id}/renew-expiration", &[(&["POST"], |path| Route::Renew(path.name(1)))]),
        row(Both, "/sandboxes/{sandbox_id}/endpoints/{port}", &[(&["GET"], |path| Route::Endpoint(path.port_of()))]),
        Row { takes_others: true, ..row(Both, PROXY, &[(FORWARDED, proxied)]) },
        Row {
            takes_others: true,
            ..row(Both, "/sandboxes/{sandbox_id}/proxy/{port}/{full_path:path}", &[(FORWARDED, proxied)])
        },
        row(
            Both,
            "/sandboxes/{sandbox_id}/networkpolicy",
            &[(&["DELETE", "GET", "PATCH", "PUT"], |path| Route::NetworkPolicy(path.name(1)))],
        ),
        row(
            Both,
            "/sandboxes/{sandbox_id}/diagnostics/logs",
            &[(&["GET"], |path| Route::Diagnostics(path.name(1), Diagnostics::Logs))],
        ),
        row(
            Both,
            "/sandboxes/{sandbox_id}/diagnostics/events",
            &[(&["GET"], |path| Route::Diagnostics(path.name(1), Diagnostics::Events))],
        ),
        row(
            Both,
            "/sandboxes/{sandbox_id}/diagnostics/inspect",
            &[(&["GET"], |path| Route::Diagnostics(path.name(1), Diagnostics::Inspect))],
        ),
        row(
            Both,
            "/sandboxes/{sandbox_id}/diagnostics/summary",
            &[(&["GET"], |path| Route::Diagnostics(path.name(1), Diagnostics::Summary))],
        ),
        row(Both, "/sandboxes/{sandbox_id}/snapshots", &[(&["POST"], |path| Route::CreateSnapshot(path.name(1)))]),
        row(Both, "/snapshots", &[(&["GET"], |_| Route::ListSnapshots)]),
        row(
            Both,
            "/snapshots/{snapshot_id}",
            &[
                (&["DELETE"], |path| Route::DeleteSnapshot(path.name(1))),
                (&["GET"], |path| Route::GetSnapshot(path.name(1))),
            ],
        ),
        row(
            Both,
            "/pools",
            &[(&["GET"], |_| Route::Pools(Collection::List)), (&["POST"], |_| Route::Pools(Collection::Create))],
        ),
        row(
            Both,
            "/pools/{pool_name}",
            &[
                (&["DELETE"], |path| Route::Pools(Collection::Delete(path.name(1)))),
                (&["GET"], |path| Route::Pools(Collection::Get(path.name(1)))),
                (&["PUT"], |path| Route::Pools(Collection::Update(path.name(1)))),
            ],
        ),
        row(
            Both,
            "/templates",
            &[
                (&["GET"], |_| Route::Templates(Collection::List)),
                (&["POST"], |_| Route::Templates(Collection::Create)),
            ],
        ),
        row(
            Both,
            "/templates/{template_id}",
            &[
                (&["DELETE"], |path| Route::Templates(Collection::Delete(path.name(1)))),
                (&["GET"], |path| Route::Templates(Collection::Get(path.name(1)))),
            ],
        ),
        row(V1, "/metrics/events", &[(&["POST"], |_| Route::MetricsEvents)]),
    ]
};

const fn row(mounts: Mounts, path: &'static str, routes: &'static [(&'static [&'static str], MakeRoute)]) -> Row {
    Row { path, mounts, routes, takes_others: false }
}

fn proxied(path: &Segments<'_>) -> Route {
    Route::Proxy(path.port_of(), ProxyPath(path.rest.to_owned()))
}

impl Mounts {
    /// What stands before the paths.
    pub fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::Root => &[""],
            Self::V1 => &[V1],
            Self::Both => &["", V1],
        }
    }
}

impl Row {
    /// The methods, in the order of `Allow`.
    pub fn methods(&self) -> impl Iterator<Item = &'static str> {
        self.routes.iter().flat_map(|(methods, _)| methods.iter().copied())
    }
}

/// The version's mount.
const V1: &str = "/v1";

/// The most segments that a path of the table has before its rest.
const MAX_SEGMENTS: usize = 4;

/// A request's path in parts, still percent-encoded.
#[derive(Debug, Clone, Copy)]
struct Segments<'p> {
    mount: &'static str,
    parts: [&'p str; MAX_SEGMENTS],
    count: usize,
    /// What follows [`MAX_SEGMENTS`] segments: nothing, or a slash and more.
    rest: &'p str,
}

impl<'p> Segments<'p> {
    fn of(path: &'p str) -> Option<Self> {
        let (mount, mut rest) = match path.strip_prefix(V1) {
            Some(below) if below.starts_with('/') => (V1, below),
            _ => ("", path),
        };
        let (mut parts, mut count) = ([""; MAX_SEGMENTS], 0);
        while count < MAX_SEGMENTS && !rest.is_empty() {
            let part = rest.strip_prefix('/')?;
            (parts[count], rest) = part.split_at(part.find('/').unwrap_or(part.len()));
            count += 1;
        }
        Some(Self { mount, parts, count, rest })
    }

    /// A segment, decoded.
    fn name(&self, index: usize) -> String {
        decoded_path(self.parts[index]).into_owned()
    }

    /// The port of a sandbox that a path has in its second and fourth segment.
    fn port_of(&self) -> PortOf {
        PortOf { id: self.name(1), port: self.name(3), mount: self.mount }
    }
}

/// A row, made ready to be matched.
struct Pattern {
    row: &'static Row,
    segments: Vec<&'static str>,
    has_rest: bool,
    allow: String,
}

static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| ROUTES.iter().map(Pattern::of).collect());

impl Pattern {
    fn of(row: &'static Row) -> Self {
        let mut segments: Vec<_> = row.path.split('/').skip(1).collect();
        let has_rest = segments.pop_if(|last| last.ends_with(":path}")).is_some();
        Self { row, segments, has_rest, allow: row.methods().collect::<Vec<_>>().join(", ") }
    }

    fn matches(&self, path: &Segments<'_>) -> bool {
        path.count == self.segments.len()
            && path.rest.is_empty() != self.has_rest
            && self.row.mounts.prefixes().contains(&path.mount)
            && self.segments.iter().zip(path.parts).all(|(wanted, found)| match wanted.starts_with('{') {
                true => !found.is_empty(),
                false => *wanted == found,
            })
    }
}

/// A path that exists, whatever the method.
pub(super) struct Place<'p> {
    pattern: &'static Pattern,
    segments: Segments<'p>,
}

impl<'p> Place<'p> {
    pub(super) fn find(path: &'p str) -> Option<Self> {
        let segments = Segments::of(path)?;
        let pattern = PATTERNS.iter().find(|pattern| pattern.matches(&segments))?;
        Some(Self { pattern, segments })
    }

    /// The path's row.
    pub(super) fn row(&self) -> &'static Row {
        self.pattern.row
    }

    /// The methods that this path has, as `Allow` lists them.
    pub(super) fn allow(&self) -> &'static str {
        &self.pattern.allow
    }

    pub(super) fn route(&self, method: &Method) -> Option<Route> {
        let Row { routes, takes_others, .. } = self.pattern.row;
        let listed = routes.iter().find(|(methods, _)| methods.contains(&method.as_str()));
        let other = || routes.first().filter(|_| *takes_others && !matches!(*method, Method::CONNECT | Method::TRACE));
        listed.or_else(other).map(|(_, make)| make(&self.segments))
    }
}
