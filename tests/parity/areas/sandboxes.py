"""Sandboxes that live: list, metadata, pause and resume, renewal, endpoints, deletion."""

from . import area
from .service import ID

# The last member of each row: whether the answer depends on the clock alone.
TIMES = [
    "2090-12-01T00:00:00Z", "2090-12-01T00:00:00z", "2090-12-01t00:00:00Z", "2090-12-01 00:00:00Z", "2090-12-01_00:00:00Z", "2090-12-01T00:00:00+02:00", "2090-12-01T00:00:00+0200", "2090-12-01T00:00:00-23:59", "2090-12-01T00:00:00+24:00", "2090-12-01T00:00:00 +02:00", "2090-12-01T00:00:00−02:00", "2090-12-01T00:00:00+02",
    "2090-12-01T00:00:00", "2090-12-01T00:00", "2090-12-01T00", "2090-12-01", "2090-12", "2090", "2090-12-01T", "2090-12-01Z", "2090-12-01T00:00Z",
    "2090-12-01T00:00:00.1Z", "2090-12-01T00:00:00.12Z", "2090-12-01T00:00:00.123Z", "2090-12-01T00:00:00.1234567Z", "2090-12-01T00:00:00.123456789Z", "2090-12-01T00:00:00.1234567891Z", "2090-12-01T00:00:00.Z", "2090-12-01T00:00:00,5Z", "2090-12-01T00:00:00.000000Z", "2090-12-01T00:00:00.000001Z", "2090-12-01T00:00:00.9999999Z",
    "2090-12-01T24:00:00Z", "2090-12-01T23:60:00Z", "2090-12-01T00:00:60Z", "2090-13-01T00:00:00Z", "2090-12-32T00:00:00Z", "2090-02-29T00:00:00Z", "2092-02-29T00:00:00Z", "2090-00-01T00:00:00Z", "2090-12-00T00:00:00Z", "20901201T000000Z", "20901201", "2090/12/01", "2090-1-1", "12/01/2090", "2090-335",
    "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999Z", "10000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2020-01-01T00:00:00Z", "-2090-12-01T00:00:00Z", "9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00",
    3816547200, 3816547200.5, 3816547200000, 3816547200000.5, "3816547200", "3816547200.25", "3816547200000", " 3816547200 ", "+3816547200", "3.8165472e9", 3.8165472e9, 0, -1, 1, 20000000000, 20000000001, 1e18, -1e18, 253402300799, 253402300800, 253402300799999, 3816547200.1234567, "1e400", "nan", "inf", "NaN", "0", "-1",
    "", " ", "x", "now", "tomorrow", "P1D", " 2090-12-01T00:00:00Z", "2090-12-01T00:00:00Z ", "2090-12-01T00:00:00ZZ", "2090-12-01T00:00:00GMT", "2090-12-01T00:00:00UTC", "Fri, 01 Dec 2090 00:00:00 GMT", None, True, False, [], {}, ["2090-12-01T00:00:00Z"], "２０９０-12-01",
]


@area("list")
def listing(side):
    """Lists with filters and pages. All carry the side's token, since both servers see all sandboxes."""
    mine = f"run%3D{side.token}"
    for number in range(3):
        side.create(f"create number {number}", metadata={"run": side.token, "number": str(number), "parity": str(number % 2), "empty": ""})
    ended = side.create("create one that ends", metadata={"run": side.token}, entrypoint=["sh", "-c", "exit 0"])
    side.until(f"/v1/sandboxes/{ended}", lambda seen: seen.get("status", {}).get("state") == "Terminated")
    paused = side.create("create one to pause", metadata={"run": side.token})
    side.post(f"/v1/sandboxes/{paused}/pause")
    queries = [
        "", "&page=1", "&page=2", "&pageSize=1", "&pageSize=2&page=2", "&pageSize=2&page=3", "&pageSize=2&page=4", "&page=999999", "&pageSize=200", "&page_size=1", "&state=Running", "&state=running", "&state=RUNNING&state=Paused", "&state=Terminated", "&state=nope", "&state=", "&state=Running,Paused", "&State=Running",
        "&page=1&page=2", "&pageSize=", "&page=", "&unknown=1", "&page=01", "&page=%2B1", "&page=1.0", "&page=%201", "&page=1_0",
    ]
    for query in queries:
        side.get(f"/v1/sandboxes?metadata={mine}{query}")
    side.get(f"/sandboxes?metadata={mine}")
    filters = ["%26number%3D1", "%26number%3D1%26number%3D2", "%26number%3D", "%26empty%3D", "%26parity%3D0", "%26nope%3Dx", "%26broken", "%26", "%26%26number%3D1", "%26number%253D1", "%26number%3D1%2B", "%26=x", "%26number%3D1%3D2", "%26 number%3D1", "%26%20number%20%3D1", ";number%3D1"]
    for more in filters:
        side.get(f"/v1/sandboxes?metadata={mine}{more}".replace(" ", "+"))
    for query in ("metadata=broken", "metadata=a%3Db%26broken", "metadata=", "metadata=%3D", "metadata", "metadata=%ff", "metadata=a%3Db&metadata=" + mine, f"metadata={mine}&metadata=a%3Db"):
        side.get(f"/v1/sandboxes?{query}&state=nope")
    for query in ("page=0", "page=-1", "page=x", "page=1.5", "page=9999999999999999999999", "pageSize=0", "pageSize=201", "pageSize=x", "pageSize=-5", "page=x&pageSize=y", "page=%00", "page=true", "page=0x1", "page=1e1"):
        side.get(f"/v1/sandboxes?{query}&state=nope")
    for path in ("nope", ID, "fsb-1", "sandbox-x", "-", "a" * 300):
        side.get(f"/v1/sandboxes/{path}")
        side.delete(f"/sandboxes/{path}")


@area("metadata")
def metadata(side):
    """Patches of metadata, one after the other on the same sandbox."""
    made = side.create("create", metadata={"a": "1", "b": "2", "example.com/c": "3"})
    path = f"/v1/sandboxes/{made}/metadata"
    patches = [
        {}, {"a": "9"}, {"a": None}, {"a": None}, {"new": "x", "b": None}, {"e": ""}, {"example.com/c": "4", "z/y": "w"}, {"opensandbox.io/id": "x"}, {"opensandbox.io/id": None}, {"opensandbox.io/": "x"}, {"-bad": "x"}, {"-bad": None}, {"ok": "-bad"}, {"ok": "good", "worse": "a b"}, {"k": 1}, {"k": [1]}, {"k": True}, {"k": {}}, {"k": 1, "l": 2}, [], "x", None, 1, {"com.docker.x": "y"}, {"k": "a" * 64}, {"": "x"}, {"": None}, {"k" * 64: "v"}, {"ä": "v"}, {"k": "ä"}, {"Z": "1", "A": "2"},
    ]
    for patch in patches:
        side.ask(f"PATCH {patch}", "PATCH", path, json_body=patch)
    side.get(f"/v1/sandboxes/{made}")
    side.ask("PATCH as a merge patch", "PATCH", path, json_body={"m": "p"}, type="application/merge-patch+json")
    side.ask("PATCH at the root mount", "PATCH", path.removeprefix("/v1"), json_body={"r": "m"})
    side.ask("PATCH everything away", "PATCH", path, json_body={key: None for key in ("new", "e", "example.com/c", "z/y", "Z", "A", "m", "r", "com.docker.x")})
    side.get(f"/v1/sandboxes/{made}", "get without metadata")
    side.get(f"/v1/sandboxes?metadata=r%3Dm%26run%3D{side.token}", "list by what is gone")
    for patch in ({}, {"opensandbox.io/id": "x"}, {"-": "x"}, [], {"a": 1}):
        side.ask(f"PATCH {patch} of none", "PATCH", f"/v1/sandboxes/{ID}/metadata", json_body=patch)
    side.delete(f"/v1/sandboxes/{made}")
    side.ask("PATCH after delete", "PATCH", path, json_body={"a": "b"})


@area("states")
def states(side):
    """Pause, resume, renew, delete in every state."""
    made = side.create("create")
    path = f"/v1/sandboxes/{made}"
    walk = ["resume", "pause", "pause", "", "resume", "", "resume", "pause"]
    for number, step in enumerate(walk):
        side.ask(f"step {number}: {step or 'get'}", "POST" if step else "GET", f"{path}/{step}".rstrip("/"))
    later = {"expiresAt": "2090-01-01T00:00:00Z"}
    side.post(f"{path}/renew-expiration", later, "renew while paused")
    side.ask("patch while paused", "PATCH", f"{path}/metadata", json_body={"p": "q"})
    side.get(f"{path}/endpoints/8080", "endpoint while paused")
    side.get(f"{path}/diagnostics/events", "events while paused")
    side.post(f"{path}/snapshots", {}, "snapshot while paused")
    side.ask("resume with a body", "POST", f"{path}/resume", body=b"{broken", type="text/odd")
    side.ask("pause at the root mount", "POST", f"{path}/pause".removeprefix("/v1"))
    side.delete(path, "delete while paused")
    for step in ("pause", "resume"):
        side.ask(f"{step} after delete", "POST", f"{path}/{step}")
        side.ask(f"{step} of none", "POST", f"/v1/sandboxes/{ID}/{step}")
    side.post(f"{path}/renew-expiration", later, "renew after delete")
    side.delete(path, "delete again")
    for code in (0, 3):
        ended = f"/v1/sandboxes/{side.create(f'create one that exits with {code}', entrypoint=['sh', '-c', f'echo out; exit {code}'])}"
        side.until(ended, lambda seen: seen.get("status", {}).get("state") in ("Terminated", "Failed"))
        side.get(ended)
        for step in ("pause", "resume"):
            side.ask(None, "POST", f"{ended}/{step}")
        side.post(f"{ended}/renew-expiration", later, f"renew after exit {code}")
        side.ask(f"patch after exit {code}", "PATCH", f"{ended}/metadata", json_body={"p": "q"})
        for what in ("endpoints/8080", "endpoints/3000", "proxy/8080/x", "diagnostics/events", "diagnostics/inspect", "networkpolicy"):
            side.get(f"{ended}/{what}")
        side.post(f"{ended}/snapshots", {"name": "s"}, f"snapshot after exit {code}")
        side.delete(ended)


@area("renew")
def renew(side):
    """Times in all forms."""
    made = side.create("create")
    path = f"/v1/sandboxes/{made}/renew-expiration"
    for time in TIMES:
        side.post(path, {"expiresAt": time}, f"renew to {time!r}")
    for body in ({}, {"expires_at": "2090-01-01T00:00:00Z"}, {"expiresat": "2090-01-01"}, {"expiresAt": "2090-01-01", "more": 1}, {"expiresAt": "2091-01-01", "expires_at": "2092-01-01"}, [], "x"):
        side.post(path, body, f"renew with {body}")
    side.get(f"/v1/sandboxes/{made}", "get after renewals")
    side.post(path.removeprefix("/v1"), {"expiresAt": "2089-01-01"}, "renew at the root mount: shorter")
    side.get(f"/v1/sandboxes?metadata=run%3D{side.token}", "list after renewals")
    for what, body in (("a future time", {"expiresAt": "2090-01-01"}), ("a past time", {"expiresAt": "2001-01-01"}), ("no time", {"expiresAt": "x"})):
        side.post(f"/v1/sandboxes/{ID}/renew-expiration", body, f"renew none to {what}")
    manual = side.create("create without a timeout", timeout=None)
    for what, body in (("a future time", {"expiresAt": "2090-01-01"}), ("a past time", {"expiresAt": "2001-01-01"}), ("no time", {"expiresAt": "x"})):
        side.post(f"/v1/sandboxes/{manual}/renew-expiration", body, f"renew one without timeout to {what}")


@area("endpoints")
def endpoints(side):
    """Endpoints on a bridge."""
    path = f"/v1/sandboxes/{side.create('create')}"
    for port in ("8080", "44772", "18080", "3000", "1", "65535", "0", "65536", "-1", "abc", "80.0", "80.5", "+80", "080", "%2080", "8_0", "99999999999999999999", "0x50", "true", "", "80/", "80/x"):
        side.get(f"{path}/endpoints/{port}")
    queries = ["use_server_proxy=true", "use_server_proxy=false", "use_server_proxy=1", "use_server_proxy=off", "use_server_proxy=YES", "use_server_proxy=maybe", "use_server_proxy=", "use_server_proxy=2", "expires=1", "expires=abc", "expires=1.5", "expires=-1", "expires=0", "expires=", "use_server_proxy=true&expires=5", "use_server_proxy=false&expires=5", "use_server_proxy=x&expires=y", "useServerProxy=true", "use_server_proxy=true&use_server_proxy=false"]
    for query in queries:
        side.get(f"{path}/endpoints/8080?{query}")
        side.get(f"/v1/sandboxes/{ID}/endpoints/8080?{query}")
    for port in (44772, 3000, 18080, 0, 65536):
        side.get(f"{path}/endpoints/{port}?use_server_proxy=true")
    for port in ("80", "0", "65536", "abc"):
        side.get(f"/v1/sandboxes/{ID}/endpoints/{port}")
    root = path.removeprefix("/v1")
    side.get(f"{root}/endpoints/8080?use_server_proxy=true")
    for name, headers, host in (("a Host", [], "gw.example:9"), ("a Host without port", [], "gw.example"), ("X-Forwarded-Host", [("X-Forwarded-Host", "other.example")], "gw.example"), ("X-Forwarded-Proto", [("X-Forwarded-Proto", "https")], "gw.example"), ("X-Forwarded-Prefix", [("X-Forwarded-Prefix", "/p")], "gw.example"), ("an IPv6 Host", [], "[::1]:80")):
        side.get(f"{path}/endpoints/8080?use_server_proxy=true", f"a proxied endpoint with {name}", headers=headers, host=host)
    side.get(f"{path.replace('/v1', '/v1')}/endpoints/8080", "a direct endpoint with a Host", host="gw.example:9")


@area("endpoints-lost", config="lost")
def endpoints_lost(side):
    """Endpoints without a sandbox, where the configuration names a public host."""
    for query in ("", "?use_server_proxy=true", "?expires=1", "?use_server_proxy=true&expires=1"):
        side.get(f"/v1/sandboxes/{ID}/endpoints/80{query}")
