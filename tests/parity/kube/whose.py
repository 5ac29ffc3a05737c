"""Tenants by a service: what it is asked, and what its answers make of a key."""

import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cluster import batch
from servers import KEY
from websocket import talk

from . import area

LABEL = "opensandbox.io/tenant"

LIBRARY = ("host", "user-agent", "accept", "accept-encoding", "connection")
"""Header fields that an HTTP library adds."""

ODD = {
    "unknown": (401, '{"detail":"no"}'),
    "forbidden": (403, "{}"),
    "missing": (404, "{}"),
    "broken": (500, "{}"),
    "moved": (302, "{}"),
    "empty": (200, ""),
    "text": (200, "namespace"),
    "list": (200, "[]"),
    "nameless": (200, "{}"),
    "null": (200, '{"namespace":null}'),
    "blank": (200, '{"namespace":""}'),
    "number": (200, '{"namespace":7}'),
    "created": (201, '{"namespace":"@PLACE@"}'),
    "ttl-text": (200, '{"namespace":"@PLACE@","ttl":"soon"}'),
    "ttl-zero": (200, '{"namespace":"@PLACE@","ttl":0}'),
    "ttl-negative": (200, '{"namespace":"@PLACE@","ttl":-5}'),
    "ttl-none": (200, '{"namespace":"@PLACE@"}'),
    "more": (200, '{"namespace":"@PLACE@","ttl":60,"name":"x","plan":{"a":1}}'),
}
"""The key behind `key-`, and what the service answers. `@PLACE@` is the namespace of tenant a."""


class Asked:
    """The questions of one server."""

    def __init__(self):
        self.heads, self.lock = [], threading.Lock()

    def add(self, key, path, headers):
        """Notes a question; returns how many of this key there are now."""
        with self.lock:
            self.heads.append((key, path, headers))
            return sum(1 for known, _, _ in self.heads if known == key)


class Service:
    """Who knows the tenants: the path's first segment says which server asks."""

    def __init__(self):
        self.asked = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, kind):
        """The questions of a server."""
        return self.asked.setdefault(kind, Asked())

    def _handler(service):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                kind = self.path.split("/")[1]
                key = self.headers.get("OPEN-SANDBOX-API-KEY", "")
                headers = {name.lower(): value for name, value in self.headers.items()}
                count = service.of(kind).add(key, self.path, headers)
                status, text = answer(key, count)
                body = text.replace("@PLACE@", f"{kind}-service-a").replace("@OTHER@", f"{kind}-service-b").encode()
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", f"/{kind}/elsewhere")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                # Whoever waited too long is gone.
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        return Handler


def answer(key, count):
    """The answer to the `count`th question about a key."""
    if key == KEY:
        return 200, '{"namespace":"@PLACE@","ttl":600}'
    if key == "key-b":
        return 200, '{"namespace":"@OTHER@","ttl":600}'
    if key == "key-slow":
        time.sleep(3)
        return 200, '{"namespace":"@PLACE@"}'
    # Known for a moment, and then not to be had, or taken back.
    if key in ("key-stale", "key-revoked") and count == 1:
        return 200, '{"namespace":"@PLACE@","ttl":0.2}'
    if key == "key-stale":
        return 500, "{}"
    if key == "key-revoked":
        return 401, "{}"
    return ODD.get(key.removeprefix("key-"), (401, "{}"))


SERVICE = Service()


def config(kind):
    """The section of a server's configuration."""
    endpoint = f"http://127.0.0.1:{SERVICE.port}/{kind}/who?x=1"
    return (
        f'[tenants]\nprovider = "http"\nendpoint = "{endpoint}"\ntimeout_seconds = 1\n'
        'auth_header = "X-Service"\nauth_token = "hunter2"\n'
    )


@area("tenants-service", "service")
def whose(side):
    """Keys of all kinds, over and over."""
    base = side.namespace
    asked = SERVICE.of(side.server.kind)
    for place, name in ((f"{base}-b", "sb-b"), (f"{base}-a", "sb-a")):
        side.namespace = place
        side.names.learn(place, f"<{name}'s namespace>")
        side.put(batch(name, metadata={"labels": {"opensandbox.io/id": name, LABEL: place}}))
    side.settle(**{LABEL: side.namespace})
    for key in (KEY, "key-b", None, "", "zzz", *(f"key-{name}" for name in ODD), "key-slow"):
        for path in ("sandboxes/sb-a", "sandboxes/sb-b"):
            side.get(f"/v1/{path}", f"{key}: {path}", key=key)
    for key in ("key-stale", "key-revoked"):
        side.get("/v1/sandboxes/sb-a", f"{key} at first", key=key)
        time.sleep(0.5)
        side.get("/v1/sandboxes/sb-a", f"{key} later", key=key)
    side.get("/health", "health without a key", key=None)
    for name, key in (("known", KEY), ("another's", "key-b"), ("unknown", "zzz"), ("not to be had", "key-broken")):
        talk(side, name, "/v1/sandboxes/sb-a/proxy/1/x", [], [("OPEN-SANDBOX-API-KEY", key)])
    with asked.lock:
        heads = list(asked.heads)
    counts = {}
    for key, _, _ in heads:
        counts[key] = counts.get(key, 0) + 1
    # A tenant that is known is asked for once; the settling asks too.
    side.note("how often the service was asked", counts)
    _, path, headers = heads[0]
    shown = {name: value for name, value in headers.items() if name not in LIBRARY}
    side.note("what the service is asked", {"path": path.replace(side.server.kind, "<kind>"), "headers": shown})
