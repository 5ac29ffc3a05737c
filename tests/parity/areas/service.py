"""What the service does before any handler: static routes, routing, authentication, request ids, CORS, bodies."""

import re

from side import parsed

from . import area

ID = "11111111-2222-3333-4444-555555555555"
"""An id that no sandbox has."""

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
    ("PUT", "/sandboxes"), ("DELETE", "/sandboxes"), ("PATCH", "/sandboxes"), ("HEAD", "/sandboxes"), ("OPTIONS", "/sandboxes"),
    ("POST", f"/sandboxes/{ID}"), ("PUT", f"/sandboxes/{ID}"), ("PATCH", f"/sandboxes/{ID}"), ("HEAD", f"/sandboxes/{ID}"),
    ("GET", f"/sandboxes/{ID}/metadata"), ("PUT", f"/sandboxes/{ID}/metadata"),
    ("GET", f"/sandboxes/{ID}/pause"), ("GET", f"/sandboxes/{ID}/resume"), ("PUT", f"/sandboxes/{ID}/renew-expiration"),
    ("POST", f"/sandboxes/{ID}/endpoints/8080"), ("GET", f"/sandboxes/{ID}/snapshots"), ("POST", f"/sandboxes/{ID}/networkpolicy"),
    ("POST", f"/sandboxes/{ID}/diagnostics/logs"), ("POST", f"/sandboxes/{ID}/diagnostics/summary"),
    ("POST", "/snapshots"), ("PUT", f"/snapshots/{ID}"), ("PUT", "/pools"), ("PATCH", "/pools/p"), ("POST", "/pools/p"),
    ("PUT", "/templates"), ("PUT", "/templates/t"), ("GET", "/metrics/events"),
    ("HEAD", f"/sandboxes/{ID}/proxy/80/x"), ("OPTIONS", f"/sandboxes/{ID}/proxy/80/x"), ("TRACE", f"/sandboxes/{ID}/proxy/80"),
    ("QUERY", "/sandboxes"), ("FOO", "/sandboxes"), ("TRACE", "/sandboxes"),
]

UNKNOWN = [
    "/", "/v1", "/v2/sandboxes", "/nope", "/v1/nope", "/v1/health", "/v1/version", "/v1/docs", "/v1/openapi.json", "/metrics",
    "/ready", "/metrics/events", f"/v1/sandboxes/{ID}/nope", f"/v1/sandboxes/{ID}/diagnostics", f"/v1/sandboxes/{ID}/endpoints",
    f"/v1/sandboxes/{ID}/proxy", "//v1/sandboxes", "/v1//sandboxes", "/V1/sandboxes", "/v1/Sandboxes", "/v1/v1/sandboxes",
    f"/v1/sandboxes/{ID}/a/b", "/favicon.ico", "/healthfoo", "/docs/x", "/v1/sandboxes/a%2Fb", "/v1/sandboxes/%00", "/v1/sandboxes/%ff",
    "/v1/sandboxes/..", "/v1/sandboxes/a%20b", "/v1/sandboxes/%C3%A9", "/v1/sandboxes/a+b", "/v1%2Fsandboxes?state=nope", "/%76%31/sandboxes?pageSize=0",
    "/v1/snapshots/a%2Fb", "/v1/sandboxes/fsb-1", "/v1/sandboxes/x;y", "/v1/sandboxes/*", "/v1/sandboxes/'%22",
]


@area("static")
def static(side):
    """The routes without a resource."""
    for path in ("/health", "/version", "/docs", "/redoc", "/docs/oauth2-redirect", "/openapi.json"):
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
            side.ask(None, method, path, key=None)
    described = parsed(side.quietly("GET", "/openapi.json")).get("paths", {})
    routes = {f"{method.upper()} {path}": True for path, methods in described.items() for method in methods if method != "parameters"}
    side.note("the routes in openapi.json", {re.sub(r"{[^}]*}", "{}", route): True for route in sorted(routes)})
    for path in ("/health?x=1", "/health/", "/version/", "/openapi.json/", "/docs/", "/redoc/", "/HEALTH", "/health/x", "/healthfoo", "/versionX", "/docsx", "/redocx", "/openapi.jsonx", "//health"):
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
    for method, path in (("POST", "/v1/sandboxes/"), ("DELETE", "/v1/snapshots/"), ("PUT", "/sandboxes/"), ("GET", "/v1/nope/"), ("GET", "/v1/sandboxes//"), ("HEAD", "/v1/sandboxes/"), ("OPTIONS", "/v1/pools/"), ("GET", "/sandboxes/?page=2&x=%20")):
        side.ask(None, method, path)
    side.get("/v1/sandboxes/", "a trailing slash, another Host", host="elsewhere.example:99")
    side.get("/v1/sandboxes/", "a trailing slash, X-Forwarded-Proto", headers=[("X-Forwarded-Proto", "https")])
    side.get("/v1/sandboxes/", "a trailing slash, X-Forwarded-Host", headers=[("X-Forwarded-Host", "other.example")])
    side.get("/v1/sandboxes/", "a trailing slash, no key", key=None)


@area("auth")
def auth(side):
    """Keys: absent, wrong, odd; which paths need none."""
    wrong = ["", "x", "parity-ke", "parity-keyy", "PARITY-KEY", "Bearer parity-key", "parity-key\u00e9"]
    for key in wrong:
        side.get("/v1/sandboxes?pageSize=0", f"the key {key!r}", key=key)
    for name in ("open-sandbox-api-key", "Open-Sandbox-Api-Key"):
        side.get("/v1/sandboxes?pageSize=0", f"the key by the name {name}", key=None, headers=[(name, "parity-key")])
    side.get("/v1/sandboxes?pageSize=0", "blanks around the key", key=None, headers=[("OPEN-SANDBOX-API-KEY", "  parity-key  ")])
    side.get("/v1/sandboxes", "Authorization only", key=None, headers=[("Authorization", "Bearer parity-key")])
    side.get("/v1/sandboxes?pageSize=0", "a wrong and a right key", key=None, headers=[("OPEN-SANDBOX-API-KEY", "x"), ("OPEN-SANDBOX-API-KEY", "parity-key")])
    side.get("/v1/sandboxes?pageSize=0", "a right and a wrong key", key=None, headers=[("OPEN-SANDBOX-API-KEY", "parity-key"), ("OPEN-SANDBOX-API-KEY", "x")])
    for path in ("/v1/sandboxes?open-sandbox-api-key=parity-key", "/nope", "/v1/health", "/v1/docs", "/openapi.json", "/health", "/healthfoo", "/versionX", "/v1/snapshots", "/v1/pools", "/v1/templates", f"/v1/sandboxes/{ID}/networkpolicy", f"/v1/sandboxes/{ID}/endpoints/80"):
        side.get(path, f"without a key: {path}", key=None)
    side.ask("without a key: DELETE", "DELETE", f"/v1/sandboxes/{ID}", key=None)
    side.ask("without a key: a wrong method", "PUT", "/v1/sandboxes", key=None)
    side.post("/v1/metrics/events", {}, "without a key: metrics", key=None)
    for path in (f"/v1/sandboxes/{ID}/proxy/80", f"/sandboxes/{ID}/proxy/80/", f"/v1/sandboxes/{ID}/proxy/80/a/b", f"/v1/sandboxes/{ID}/proxy/80/a/../b", f"/v1/sandboxes/{ID}/proxy/80/a..b", f"/v1/sandboxes/{ID}/proxy/80/%2e%2e/b", f"/v1/sandboxes/{ID}/proxy/80x/b", f"/v1/sandboxes/{ID}/proxy/abc", f"/v1/sandboxes/{ID}/proxy", "/v1/sandboxes//proxy/80/x", f"/v2/sandboxes/{ID}/proxy/80/", f"/v1/v1/sandboxes/{ID}/proxy/80/", f"/v1/sandboxes/{ID}/proxy/80/a?b=..", f"//v1/sandboxes/{ID}/proxy/80/", "/v1/sandboxes/a%2Fb/proxy/80/x", f"/v1/sandboxes/{ID}/proxy/+80/x"):
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
    for method, path, key in (("GET", "/v1/sandboxes", None), ("GET", "/nope", "parity-key"), ("PUT", "/v1/sandboxes", "parity-key"), ("GET", "/v1/sandboxes?page=x", "parity-key"), ("GET", "/v1/sandboxes/", "parity-key"), ("GET", f"/v1/sandboxes/{ID}", "parity-key"), ("DELETE", f"/v1/sandboxes/{ID}", "parity-key")):
        side.ask(f"X-Request-ID at {method} {path}", method, path, key=key, headers=[("x-request-id", "rid-2")])


@area("cors")
def cors(side):
    """Requests of other origins, and their preflights."""
    origin = ("Origin", "http://a.example")
    for path, key in (("/health", None), ("/v1/sandboxes?metadata=x%3Dy", "parity-key"), ("/v1/sandboxes", None), ("/nope", "parity-key"), ("/v1/sandboxes/", "parity-key"), (f"/v1/sandboxes/{ID}", "parity-key"), ("/v1/sandboxes?page=x", "parity-key"), (f"/v1/sandboxes/{ID}/proxy/80/x", None)):
        side.get(path, f"Origin at {path}, {'with' if key else 'without'} a key", key=key, headers=[origin])
    side.get("/health", "Origin null", headers=[("Origin", "null")])
    side.get("/health", "an empty Origin", headers=[("Origin", "")])
    side.get("/health", "Origin and Cookie", headers=[origin, ("Cookie", "a=b")])
    side.ask("Origin at a 405", "PUT", "/v1/sandboxes", headers=[origin])
    wants = "Access-Control-Request-Method"
    for path in ("/v1/sandboxes", "/nope", "/", "/health", "/v1/sandboxes/", f"/v1/sandboxes/{ID}/proxy/80/x"):
        side.ask(f"preflight {path}", "OPTIONS", path, key=None, headers=[origin, (wants, "POST")])
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "TRACE", "CONNECT", "FOO", "get", "", "GET, POST"):
        side.ask(f"preflight for {method!r}", "OPTIONS", "/v1/sandboxes", key=None, headers=[origin, (wants, method)])
    for names in ("content-type, open-sandbox-api-key", "X-A", "", "*"):
        side.ask(f"preflight for the headers {names!r}", "OPTIONS", "/v1/sandboxes", key=None, headers=[origin, (wants, "POST"), ("Access-Control-Request-Headers", names)])
    side.ask("preflight for a private network", "OPTIONS", "/v1/sandboxes", key=None, headers=[origin, (wants, "POST"), ("Access-Control-Request-Private-Network", "true")])
    side.ask("preflight with a request id", "OPTIONS", "/v1/sandboxes", key=None, headers=[origin, (wants, "POST"), ("X-Request-ID", "r")])
    side.ask("OPTIONS with Origin only, no key", "OPTIONS", "/v1/sandboxes", key=None, headers=[origin])
    side.ask("OPTIONS with Origin only", "OPTIONS", "/v1/sandboxes", headers=[origin])
    side.ask("OPTIONS with a method only", "OPTIONS", "/v1/sandboxes", headers=[(wants, "POST")])
    side.ask("preflight headers at GET", "GET", "/health", headers=[origin, (wants, "POST")])


BROKEN_JSON = [
    "{", "{bad", "[", "]", "}", "{]", '{"a"', '{"a":', '{"a":1', '{"a":1,', '{"a":1,}', '{"a" 1}', "{'a':1}", "[1,]", "[1 2]", '"abc', "nul", "tru", "truex", "{} x", "{}{}", "01",
    "-", "1.", "1e", "+1", ".5", "0x10", '"\\x"', '"\\u12"', '"\\ud800"', '"a\nb"', '"a\tb"', "\ufeff{}", " ", "\n\n", "/* c */ {}", "{\"a\":NaN}", "Infinity", "-Infinity", "NaN", "{\"é\":", "undefined", "{1:2}", '{"a":1 "b":2}', "[" * 200, "1e400", "-0", "123456789012345678901234567890",
]


@area("bodies")
def bodies(side):
    """How a body is read: content types, JSON that is none, encodings."""
    for text in BROKEN_JSON:
        side.ask(f"the body {text[:30]!r}", "POST", "/v1/sandboxes", body=text.encode())
    for value in ([], None, "x", 1, 1.5, True, {}, [{}]):
        side.post("/v1/sandboxes", value, f"the body is {value!r}")
        side.ask(f"metadata is {value!r}", "PATCH", f"/v1/sandboxes/{ID}/metadata", json_body=value)
    types = [None, "", "text/plain", "text/json", "application/json", "Application/JSON; charset=utf-8", "application/json;charset=latin-1", "application/merge-patch+json", "application/vnd.x+json", "application/jsonx", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json", "application/", "*/*", "application/json, text/plain", "image/svg+json"]
    for type in types:
        side.ask(f"{{}} as {type!r}", "POST", "/v1/sandboxes", body=b"{}", type=type)
        side.ask(f"an empty body as {type!r}", "POST", "/v1/sandboxes", body=b"", type=type)
    for type in (None, "text/plain", "application/merge-patch+json"):
        side.ask(f"metadata as {type!r}", "PATCH", f"/v1/sandboxes/{ID}/metadata", body=b'{"a":"b"}', type=type)
        side.ask(f"a renewal as {type!r}", "POST", f"/v1/sandboxes/{ID}/renew-expiration", body=b'{"expiresAt":"2090-01-01T00:00:00Z"}', type=type)
    side.ask("no body at all", "POST", "/v1/sandboxes")
    side.ask("no body at all for a renewal", "POST", f"/v1/sandboxes/{ID}/renew-expiration")
    side.ask("no body at all for metadata", "PATCH", f"/v1/sandboxes/{ID}/metadata")
    for name, body in (("UTF-16", '{"image":1}'.encode("utf-16")), ("UTF-16 without a mark", '{"image":1}'.encode("utf-16-le")), ("UTF-32", '{"image":1}'.encode("utf-32")), ("UTF-8 with a mark", b'\xef\xbb\xbf{"image":1}'), ("latin-1", b'{"image":{"uri":"\xe9"}}'), ("invalid UTF-8", b'{"image":"\xff\xfe"}'), ("a NUL", b'{"image":"\x00"}')):
        side.ask(f"a body in {name}", "POST", "/v1/sandboxes", body=body)
    side.ask("a chunked body", "POST", "/v1/sandboxes", body=b"2\r\n{}\r\n0\r\n\r\n", type="application/json", headers=[("Transfer-Encoding", "chunked")])
    side.ask("an empty chunked body", "POST", "/v1/sandboxes", body=b"0\r\n\r\n", type="application/json", headers=[("Transfer-Encoding", "chunked")])
    side.ask("a member twice", "POST", "/v1/sandboxes", body=b'{"image":1,"image":{"uri":"x"},"resourceLimits":[]}')
    side.ask("deep nesting", "POST", "/v1/sandboxes", body=b'{"image":' + b"[" * 100 + b"]" * 100 + b"}")
    side.ask("large numbers", "POST", "/v1/sandboxes", body=b'{"image":{"uri":"x"},"entrypoint":["a"],"resourceLimits":{},"timeout":123456789012345678901234567890}')
    side.ask("a body with GET", "GET", "/v1/sandboxes?pageSize=0", body=b"{}")
    side.ask("a body with DELETE", "DELETE", f"/v1/sandboxes/{ID}", body=b"{}")
