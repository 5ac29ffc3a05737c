"""WebSockets through the server to the pod's address."""

from cluster import batch
from servers import KEY
from websocket import talk

from . import TENANTS, area
from .reaching import TOKEN
from .tenants import LABEL, owned

BYE = (8, b"\x03\xe8bye")


@area("websocket")
def websocket(side):
    """Sandboxes with an address, without one, and with one that is none."""
    side.put(batch("sb-1"))
    side.put(batch("sb-waiting", metadata={"annotations": None}))
    side.put(batch("sb-bad", metadata={"annotations": {"sandbox.opensandbox.io/endpoints": '["no address"]'}}))
    side.put(batch("sb-paused", status={"phase": "Paused"}))
    side.settle()
    side.names.learn(str(side.backend), "<backend>")
    base = f"/v1/sandboxes/sb-1/proxy/{side.backend}"
    for name, path, frames, more in (
        ("echo", f"{base}/echo", [(1, "héllo".encode()), (2, bytes(range(256))), (1, b"x" * 70000), BYE], []),
        ("a subprotocol", f"{base}/echo", [BYE], [("Sec-WebSocket-Protocol", "a, b")]),
        ("closed by the service", f"{base}/close", [(1, b"go")], []),
        (
            "what the service sees",
            f"{base}/ask?q=%20",
            [(None, b""), BYE],
            [("Origin", "http://a.example"), ("Cookie", "c=1"), ("X-Custom", "1"), ("OPEN-SANDBOX-API-KEY", KEY)],
        ),
        ("a close code of its own", f"{base}/echo", [(8, (4321).to_bytes(2, "big") + b"why")], []),
        ("at the root mount", f"{base.removeprefix('/v1')}/echo", [(1, b"r"), BYE], []),
        ("refused by the service", f"{base}/refuse", [], []),
        ("nobody listens", "/v1/sandboxes/sb-1/proxy/1/x", [], []),
        ("no such sandbox", "/v1/sandboxes/nope/proxy/80/x", [], []),
        ("no address yet", f"/v1/sandboxes/sb-waiting/proxy/{side.backend}/echo", [BYE], []),
        ("no address at all", f"/v1/sandboxes/sb-bad/proxy/{side.backend}/echo", [BYE], []),
        ("a sandbox that is paused", f"/v1/sandboxes/sb-paused/proxy/{side.backend}/echo", [BYE], []),
        ("a bad port", "/v1/sandboxes/sb-1/proxy/0/x", [], []),
        ("a large port", "/v1/sandboxes/sb-1/proxy/70000/x", [], []),
        ("no port", "/v1/sandboxes/sb-1/proxy/abc/x", [], []),
    ):
        talk(side, name, path, frames, more)


@area("websocket-secure", "header")
def secure(side):
    """A sandbox that wants its own token."""
    side.put(batch("sb-1", metadata={"annotations": {"opensandbox.io/secure-access-token": TOKEN}}))
    side.settle()
    side.names.learn(str(side.backend), "<backend>")
    for name, more in (
        ("without its token", []),
        ("with its token", [("OpenSandbox-Secure-Access", TOKEN)]),
        ("with another", [("OpenSandbox-Secure-Access", "x")]),
    ):
        talk(side, name, f"/v1/sandboxes/sb-1/proxy/{side.backend}/echo", [(1, b"a"), BYE], more)


@area("websocket-tenants", "tenants")
def tenants(side):
    """A tenant's sandbox, with each tenant's key."""
    side.namespace = f"{side.namespace}-a"
    side.put(owned("sb-a", "a"))
    side.settle(**{LABEL: "a"})
    side.names.learn(str(side.backend), "<backend>")
    keys = {name: key for name, (_, key) in TENANTS.items()}
    for name, key in (*keys.items(), ("an unknown key", "nope"), ("no key", None)):
        more = [("OPEN-SANDBOX-API-KEY", key)] if key else []
        talk(side, name, f"/v1/sandboxes/sb-a/proxy/{side.backend}/echo", [(1, b"a"), BYE], more)
