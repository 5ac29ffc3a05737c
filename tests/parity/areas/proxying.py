"""The proxy: what the service behind it sees, and what the client sees. On the host's network, so that any local
port is a sandbox's."""

import time

from websocket import talk

from . import area
from .service import ID

HEADERS = [
    ("Cookie", "c=1"),
    ("Authorization", "Bearer z"),
    ("OPEN-SANDBOX-API-KEY", "k"),
    ("OpenSandbox-Secure-Access", "s"),
    ("OpenSandbox-Access-Renew", "skip"),
    ("X-Forwarded-For", "9.9.9.9"),
    ("X-Forwarded-Host", "h.example"),
    ("X-Forwarded-Port", "1"),
    ("X-Forwarded-Proto", "https"),
    ("X-Real-IP", "8.8.8.8"),
    ("Forwarded", "for=1.1.1.1"),
    ("Keep-Alive", "timeout=5"),
    ("TE", "trailers"),
    ("Trailer", "X"),
    ("Proxy-Authorization", "p"),
    ("Proxy-Authenticate", "p"),
    ("Proxy-Connection", "keep-alive"),
    ("Connection", "close"),
    ("Connection", "keep-alive, X-Named"),
    ("X-Named", "1"),
    ("OPENSANDBOX-EGRESS-AUTH", "e"),
    ("OpenSandbox-Ingress-To", "i"),
    ("Accept-Encoding", "br"),
    ("Accept", "text/odd"),
    ("User-Agent", "agent/1"),
    ("X-Custom", "1"),
    ("Expect-Not", "1"),
    ("X-Request-ID", "rid"),
    ("Origin", "http://a.example"),
    ("Accept-Language", "de"),
    ("Range", "bytes=0-1"),
    ("If-None-Match", '"x"'),
    ("X-Empty", ""),
    ("X-Latin", "\u00e9"),
]
TARGETS = [
    "",
    "/",
    "/a",
    "/a/",
    "/a/b",
    "//a//b/",
    "/a%20b",
    "/a+b",
    "/a%2Fb",
    "/a%3Fb",
    "/a%23b",
    "/a%25b",
    "/a%2525b",
    "/%C3%A9",
    "/%ff",
    "/a;b=c",
    "/a:b@c",
    "/~a!$&'()*,=",
    "/%7Ea",
    "/a%5B1%5D",
    "/a[1]",
    "/a|b",
    "/%2e%2e/a",
    "/a/./b",
    "/a%00b",
    "?x=1",
    "/a?x=1&x=2&y&z=%20%2F+q",
    "/a?",
    "/a?%ff",
    "/a??b",
    "/a?b=%23",
    "/a?b=c?d",
    "/a?b[]=1",
    "/a?q=a|b",
]


@area("proxy", config="host")
def proxy(side):
    """HTTP through the proxy."""
    made = side.create("create")
    side.names.learn(str(side.backend), "<backend>")
    base = f"/v1/sandboxes/{made}/proxy/{side.backend}"
    for target in TARGETS:
        side.get(base + target, f"GET <proxy>{target}")
    for header in HEADERS:
        side.get(f"{base}/h", f"with {header[0]}: {header[1]}", headers=[header])
    side.get(f"{base}/h", "with a header twice", headers=[("X-Twice", "1"), ("X-Twice", "2")])
    side.get(f"{base}/h", "with another Host", host="public.example")
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        side.ask(f"{method} without a body", method, f"{base}/m")
        if method != "GET":
            side.ask(
                f"{method} with a body", method, f"{base}/m", body=b"hello=1", type="application/x-www-form-urlencoded"
            )
            side.ask(f"{method} with an empty body", method, f"{base}/m", body=b"", type="text/plain")
            side.ask(
                f"{method} with a chunked body",
                method,
                f"{base}/m",
                body=b"5\r\nhello\r\n0\r\n\r\n",
                type="text/plain",
                headers=[("Transfer-Encoding", "chunked")],
            )
    side.ask("GET with a body", "GET", f"{base}/m", body=b"x", type="text/plain")
    for method in ("HEAD", "OPTIONS", "TRACE", "QUERY", "FOO"):
        side.ask(f"{method} through the proxy", method, f"{base}/m")
    for path in (
        "/redir",
        "/redirabs",
        "/redirpr",
        "/redirrel",
        "/cookies",
        "/hop",
        "/named",
        "/empty",
        "/notmodified",
        "/error",
        "/gzip",
        "/drop",
        "/junk",
        "/short",
        "/cut",
        "/close",
        "/old",
        "/chunked",
    ):
        side.get(base + path, f"GET <proxy>{path}")
    for path in ("/redir", "/named", "/cookies"):
        side.get(base + path, f"GET <proxy>{path} with Origin", headers=[("Origin", "http://a.example")])
    side.get(f"{base.removeprefix('/v1')}/redir", "a redirection at the root mount")
    side.get(f"{base}/h", "after cookies were set")
    side.get(f"{base}/h", "an upgrade that is none", headers=[("Upgrade", "websocket"), ("Connection", "keep-alive")])
    for port in ("1", "0", "65536", "abc", "-1", "80.5"):
        side.get(f"/v1/sandboxes/{made}/proxy/{port}/x", f"the port {port}")
        side.get(f"/v1/sandboxes/{ID}/proxy/{port}/x", f"the port {port} of none")


@area("proxy-bridge")
def proxy_bridge(side):
    """The proxy to a container's own address."""
    page = "mkdir -p /w; echo served > /w/page; touch -d @1577836800 /w/page; exec httpd -f -p 8080 -h /w"
    made = side.create("create", entrypoint=["sh", "-c", page])
    # The sandbox's own service and its execd, which starts beside it: either may be the later one.
    for path in ("8080/page", "44772/none"):
        for _ in range(100):
            if side.quietly("GET", f"/v1/sandboxes/{made}/proxy/{path}").status in (200, 404):
                break
            time.sleep(0.05)
    for path in ("8080/page", "8080/none", "8080", "44772/none", "9/x"):
        side.get(f"/v1/sandboxes/{made}/proxy/{path}", f"GET <proxy>/{path}", key=None)
    side.ask("pause", "POST", f"/v1/sandboxes/{made}/pause")
    side.ask("resume", "POST", f"/v1/sandboxes/{made}/resume")
    side.get(f"/v1/sandboxes/{made}/proxy/8080/page", "after pause and resume")


@area("websocket", config="host")
def websocket(side):
    """WebSockets through the proxy."""
    made = side.create("create")
    side.names.learn(str(side.backend), "<backend>")
    base = f"/v1/sandboxes/{made}/proxy/{side.backend}"
    for name, path, frames, more in (
        (
            "echo",
            f"{base}/echo",
            [(1, "héllo".encode()), (2, bytes(range(256))), (1, b"x" * 70000), (8, b"\x03\xe8bye")],
            [],
        ),
        ("a subprotocol", f"{base}/echo", [(8, b"\x03\xe8")], [("Sec-WebSocket-Protocol", "a, b")]),
        ("closed by the service", f"{base}/close", [(1, b"go")], []),
        (
            "what the service sees",
            f"{base}/ask?q=%20",
            [(None, b""), (8, b"\x03\xe8")],
            [("Origin", "http://a.example"), ("Cookie", "c=1"), ("X-Custom", "1"), ("Authorization", "z")],
        ),
        ("a close code of its own", f"{base}/echo", [(8, (4321).to_bytes(2, "big") + b"why")], []),
        ("at the root mount", f"{base.removeprefix('/v1')}/echo", [(1, b"r"), (8, b"\x03\xe8")], []),
        ("refused by the service", f"{base}/refuse", [], []),
        ("nobody listens", f"/v1/sandboxes/{made}/proxy/1/x", [], []),
        ("no such sandbox", f"/v1/sandboxes/{ID}/proxy/80/x", [], []),
        ("a bad port", f"/v1/sandboxes/{made}/proxy/0/x", [], []),
        ("no port", f"/v1/sandboxes/{made}/proxy/abc/x", [], []),
        ("no such route", "/v1/nope", [], []),
        ("another route", "/v1/sandboxes", [], []),
    ):
        talk(side, name, path, frames, more)
