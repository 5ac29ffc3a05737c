"""Static routes, unknown paths, wrong methods, trailing slashes."""

import re

from side import parsed

from . import area
from .service import ID

PATHS = [
    "/sandboxes",
    f"/sandboxes/{ID}",
    f"/sandboxes/{ID}/metadata",
    f"/sandboxes/{ID}/pause",
    f"/sandboxes/{ID}/resume",
    f"/sandboxes/{ID}/renew-expiration",
    f"/sandboxes/{ID}/endpoints/8080",
    f"/sandboxes/{ID}/snapshots",
    f"/sandboxes/{ID}/networkpolicy",
    f"/sandboxes/{ID}/diagnostics/logs",
    f"/sandboxes/{ID}/diagnostics/events",
    f"/sandboxes/{ID}/diagnostics/inspect",
    f"/sandboxes/{ID}/diagnostics/summary",
    "/snapshots",
    f"/snapshots/{ID}",
    "/pools",
    "/pools/p",
    "/templates",
    "/templates/t",
]
"""Every path below both mounts, but for the proxy's."""

WRONG_METHODS = [
    ("PUT", "/sandboxes"),
    ("DELETE", "/sandboxes"),
    ("PATCH", "/sandboxes"),
    ("HEAD", "/sandboxes"),
    ("OPTIONS", "/sandboxes"),
    ("POST", f"/sandboxes/{ID}"),
    ("PUT", f"/sandboxes/{ID}"),
    ("PATCH", f"/sandboxes/{ID}"),
    ("HEAD", f"/sandboxes/{ID}"),
    ("GET", f"/sandboxes/{ID}/metadata"),
    ("PUT", f"/sandboxes/{ID}/metadata"),
    ("GET", f"/sandboxes/{ID}/pause"),
    ("GET", f"/sandboxes/{ID}/resume"),
    ("PUT", f"/sandboxes/{ID}/renew-expiration"),
    ("POST", f"/sandboxes/{ID}/endpoints/8080"),
    ("GET", f"/sandboxes/{ID}/snapshots"),
    ("POST", f"/sandboxes/{ID}/networkpolicy"),
    ("POST", f"/sandboxes/{ID}/diagnostics/logs"),
    ("POST", f"/sandboxes/{ID}/diagnostics/summary"),
    ("POST", "/snapshots"),
    ("PUT", f"/snapshots/{ID}"),
    ("PUT", "/pools"),
    ("PATCH", "/pools/p"),
    ("POST", "/pools/p"),
    ("PUT", "/templates"),
    ("PUT", "/templates/t"),
    ("GET", "/metrics/events"),
    ("HEAD", f"/sandboxes/{ID}/proxy/80/x"),
    ("OPTIONS", f"/sandboxes/{ID}/proxy/80/x"),
    ("TRACE", f"/sandboxes/{ID}/proxy/80"),
    ("QUERY", "/sandboxes"),
    ("FOO", "/sandboxes"),
    ("TRACE", "/sandboxes"),
]

UNKNOWN = [
    "/",
    "/v1",
    "/v2/sandboxes",
    "/nope",
    "/v1/nope",
    "/v1/health",
    "/v1/version",
    "/v1/docs",
    "/v1/openapi.json",
    "/metrics",
    "/ready",
    "/metrics/events",
    f"/v1/sandboxes/{ID}/nope",
    f"/v1/sandboxes/{ID}/diagnostics",
    f"/v1/sandboxes/{ID}/endpoints",
    f"/v1/sandboxes/{ID}/proxy",
    "//v1/sandboxes",
    "/v1//sandboxes",
    "/V1/sandboxes",
    "/v1/Sandboxes",
    "/v1/v1/sandboxes",
    f"/v1/sandboxes/{ID}/a/b",
    "/favicon.ico",
    "/healthfoo",
    "/docs/x",
    "/v1/sandboxes/a%2Fb",
    "/v1/sandboxes/%00",
    "/v1/sandboxes/%ff",
    "/v1/sandboxes/..",
    "/v1/sandboxes/a%20b",
    "/v1/sandboxes/%C3%A9",
    "/v1/sandboxes/a+b",
    "/v1%2Fsandboxes?state=nope",
    "/%76%31/sandboxes?pageSize=0",
    "/v1/snapshots/a%2Fb",
    "/v1/sandboxes/fsb-1",
    "/v1/sandboxes/x;y",
    "/v1/sandboxes/*",
    "/v1/sandboxes/'%22",
]


@area("static")
def static(side):
    """The routes without a resource."""
    for path in ("/health", "/version", "/docs", "/redoc", "/docs/oauth2-redirect", "/openapi.json"):
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
            side.ask(None, method, path, key=None)
    described = parsed(side.quietly("GET", "/openapi.json")).get("paths", {})
    routes = {
        f"{method.upper()} {path}": True
        for path, methods in described.items()
        for method in methods
        if method != "parameters"
    }
    side.note("the routes in openapi.json", {re.sub(r"{[^}]*}", "{}", route): True for route in sorted(routes)})
    for path in (
        "/health?x=1",
        "/health/",
        "/version/",
        "/openapi.json/",
        "/docs/",
        "/redoc/",
        "/HEALTH",
        "/health/x",
        "/healthfoo",
        "/versionX",
        "/docsx",
        "/redocx",
        "/openapi.jsonx",
        "//health",
    ):
        side.get(path, key=None)


@area("routing")
def routing(side):
    """Unknown paths, wrong methods and trailing slashes."""
    for path in UNKNOWN:
        side.get(path)
    for mount in ("", "/v1"):
        for method, path in WRONG_METHODS:
            side.ask(None, method, mount + path)
    for path in PATHS:
        side.get(f"/v1{path}/")
    for method, path in (
        ("POST", "/v1/sandboxes/"),
        ("DELETE", "/v1/snapshots/"),
        ("PUT", "/sandboxes/"),
        ("GET", "/v1/nope/"),
        ("GET", "/v1/sandboxes//"),
        ("HEAD", "/v1/sandboxes/"),
        ("OPTIONS", "/v1/pools/"),
        ("GET", "/sandboxes/?page=2&x=%20"),
    ):
        side.ask(None, method, path)
    side.get("/v1/sandboxes/", "a trailing slash, another Host", host="elsewhere.example:99")
    side.get("/v1/sandboxes/", "a trailing slash, X-Forwarded-Proto", headers=[("X-Forwarded-Proto", "https")])
    side.get("/v1/sandboxes/", "a trailing slash, X-Forwarded-Host", headers=[("X-Forwarded-Host", "other.example")])
    side.get("/v1/sandboxes/", "a trailing slash, no key", key=None)
