"""What the service does before any handler: authentication, request ids, CORS."""

from . import area

ID = "11111111-2222-3333-4444-555555555555"
"""An id that no sandbox has."""


@area("auth")
def auth(side):
    """Keys: absent, wrong, odd; which paths need none."""
    wrong = ["", "x", "parity-ke", "parity-keyy", "PARITY-KEY", "Bearer parity-key", "parity-key\u00e9"]
    for key in wrong:
        side.get("/v1/sandboxes?pageSize=0", f"the key {key!r}", key=key)
    for name in ("open-sandbox-api-key", "Open-Sandbox-Api-Key"):
        side.get("/v1/sandboxes?pageSize=0", f"the key by the name {name}", key=None, headers=[(name, "parity-key")])
    side.get(
        "/v1/sandboxes?pageSize=0",
        "blanks around the key",
        key=None,
        headers=[("OPEN-SANDBOX-API-KEY", "  parity-key  ")],
    )
    side.get("/v1/sandboxes", "Authorization only", key=None, headers=[("Authorization", "Bearer parity-key")])
    side.get(
        "/v1/sandboxes?pageSize=0",
        "a wrong and a right key",
        key=None,
        headers=[("OPEN-SANDBOX-API-KEY", "x"), ("OPEN-SANDBOX-API-KEY", "parity-key")],
    )
    side.get(
        "/v1/sandboxes?pageSize=0",
        "a right and a wrong key",
        key=None,
        headers=[("OPEN-SANDBOX-API-KEY", "parity-key"), ("OPEN-SANDBOX-API-KEY", "x")],
    )
    for path in (
        "/v1/sandboxes?open-sandbox-api-key=parity-key",
        "/nope",
        "/v1/health",
        "/v1/docs",
        "/openapi.json",
        "/health",
        "/healthfoo",
        "/versionX",
        "/v1/snapshots",
        "/v1/pools",
        "/v1/templates",
        f"/v1/sandboxes/{ID}/networkpolicy",
        f"/v1/sandboxes/{ID}/endpoints/80",
    ):
        side.get(path, f"without a key: {path}", key=None)
    side.ask("without a key: DELETE", "DELETE", f"/v1/sandboxes/{ID}", key=None)
    side.ask("without a key: a wrong method", "PUT", "/v1/sandboxes", key=None)
    side.post("/v1/metrics/events", {}, "without a key: metrics", key=None)
    for path in (
        f"/v1/sandboxes/{ID}/proxy/80",
        f"/sandboxes/{ID}/proxy/80/",
        f"/v1/sandboxes/{ID}/proxy/80/a/b",
        f"/v1/sandboxes/{ID}/proxy/80/a/../b",
        f"/v1/sandboxes/{ID}/proxy/80/a..b",
        f"/v1/sandboxes/{ID}/proxy/80/%2e%2e/b",
        f"/v1/sandboxes/{ID}/proxy/80x/b",
        f"/v1/sandboxes/{ID}/proxy/abc",
        f"/v1/sandboxes/{ID}/proxy",
        "/v1/sandboxes//proxy/80/x",
        f"/v2/sandboxes/{ID}/proxy/80/",
        f"/v1/v1/sandboxes/{ID}/proxy/80/",
        f"/v1/sandboxes/{ID}/proxy/80/a?b=..",
        f"//v1/sandboxes/{ID}/proxy/80/",
        "/v1/sandboxes/a%2Fb/proxy/80/x",
        f"/v1/sandboxes/{ID}/proxy/+80/x",
    ):
        side.get(path, f"without a key: {path}", key=None)
        side.get(path, f"with a key: {path}")
    side.ask("without a key: HEAD of a proxy", "HEAD", f"/v1/sandboxes/{ID}/proxy/80/x", key=None)


@area("request-id")
def request_id(side):
    """`X-Request-ID` of the client, echoed."""
    values = ["rid-1", "  padded  ", "", "   ", "x" * 300, "with blanks within", 'quotes"\\', "ünï", "a,b", "\t tab"]
    for value in values:
        side.get("/health", f"X-Request-ID {value[:20]!r}", headers=[("X-Request-ID", value)])
    side.get("/health", "two X-Request-IDs", headers=[("X-Request-ID", "one"), ("X-Request-ID", "two")])
    for method, path, key in (
        ("GET", "/v1/sandboxes", None),
        ("GET", "/nope", "parity-key"),
        ("PUT", "/v1/sandboxes", "parity-key"),
        ("GET", "/v1/sandboxes?page=x", "parity-key"),
        ("GET", "/v1/sandboxes/", "parity-key"),
        ("GET", f"/v1/sandboxes/{ID}", "parity-key"),
        ("DELETE", f"/v1/sandboxes/{ID}", "parity-key"),
    ):
        side.ask(f"X-Request-ID at {method} {path}", method, path, key=key, headers=[("x-request-id", "rid-2")])


@area("cors")
def cors(side):
    """Requests of other origins, and their preflights."""
    origin = ("Origin", "http://a.example")
    for path, key in (
        ("/health", None),
        ("/v1/sandboxes?metadata=x%3Dy", "parity-key"),
        ("/v1/sandboxes", None),
        ("/nope", "parity-key"),
        ("/v1/sandboxes/", "parity-key"),
        (f"/v1/sandboxes/{ID}", "parity-key"),
        ("/v1/sandboxes?page=x", "parity-key"),
        (f"/v1/sandboxes/{ID}/proxy/80/x", None),
    ):
        side.get(path, f"Origin at {path}, {'with' if key else 'without'} a key", key=key, headers=[origin])
    side.get("/health", "Origin null", headers=[("Origin", "null")])
    side.get("/health", "an empty Origin", headers=[("Origin", "")])
    side.get("/health", "Origin and Cookie", headers=[origin, ("Cookie", "a=b")])
    side.ask("Origin at a 405", "PUT", "/v1/sandboxes", headers=[origin])
    wants = "Access-Control-Request-Method"
    for path in ("/v1/sandboxes", "/nope", "/", "/health", "/v1/sandboxes/", f"/v1/sandboxes/{ID}/proxy/80/x"):
        side.ask(f"preflight {path}", "OPTIONS", path, key=None, headers=[origin, (wants, "POST")])
    for method in (
        "GET",
        "HEAD",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "QUERY",
        "TRACE",
        "CONNECT",
        "FOO",
        "get",
        "",
        "GET, POST",
    ):
        side.ask(f"preflight for {method!r}", "OPTIONS", "/v1/sandboxes", key=None, headers=[origin, (wants, method)])
    for names in ("content-type, open-sandbox-api-key", "X-A", "", "*"):
        side.ask(
            f"preflight for the headers {names!r}",
            "OPTIONS",
            "/v1/sandboxes",
            key=None,
            headers=[origin, (wants, "POST"), ("Access-Control-Request-Headers", names)],
        )
    side.ask(
        "preflight for a private network",
        "OPTIONS",
        "/v1/sandboxes",
        key=None,
        headers=[origin, (wants, "POST"), ("Access-Control-Request-Private-Network", "true")],
    )
    side.ask(
        "preflight with a request id",
        "OPTIONS",
        "/v1/sandboxes",
        key=None,
        headers=[origin, (wants, "POST"), ("X-Request-ID", "r")],
    )
    side.ask("OPTIONS with Origin only, no key", "OPTIONS", "/v1/sandboxes", key=None, headers=[origin])
    side.ask("OPTIONS with Origin only", "OPTIONS", "/v1/sandboxes", headers=[origin])
    side.ask("OPTIONS with a method only", "OPTIONS", "/v1/sandboxes", headers=[(wants, "POST")])
    side.ask("preflight headers at GET", "GET", "/health", headers=[origin, (wants, "POST")])
