"""Sandboxes that live: metadata, pause and resume, endpoints, deletion."""

from . import area
from .service import ID


@area("metadata")
def metadata(side):
    """Patches of metadata, one after the other on the same sandbox."""
    made = side.create("create", metadata={"a": "1", "b": "2", "example.com/c": "3"})
    path = f"/v1/sandboxes/{made}/metadata"
    patches = [
        {},
        {"a": "9"},
        {"a": None},
        {"a": None},
        {"new": "x", "b": None},
        {"e": ""},
        {"example.com/c": "4", "z/y": "w"},
        {"opensandbox.io/id": "x"},
        {"opensandbox.io/id": None},
        {"opensandbox.io/": "x"},
        {"-bad": "x"},
        {"-bad": None},
        {"ok": "-bad"},
        {"ok": "good", "worse": "a b"},
        {"k": 1},
        {"k": [1]},
        {"k": True},
        {"k": {}},
        {"k": 1, "l": 2},
        [],
        "x",
        None,
        1,
        {"com.docker.x": "y"},
        {"k": "a" * 64},
        {"": "x"},
        {"": None},
        {"k" * 64: "v"},
        {"ä": "v"},
        {"k": "ä"},
        {"Z": "1", "A": "2"},
    ]
    for patch in patches:
        side.ask(f"PATCH {patch}", "PATCH", path, json_body=patch)
    side.get(f"/v1/sandboxes/{made}")
    side.ask("PATCH as a merge patch", "PATCH", path, json_body={"m": "p"}, type="application/merge-patch+json")
    side.ask("PATCH at the root mount", "PATCH", path.removeprefix("/v1"), json_body={"r": "m"})
    side.ask(
        "PATCH everything away",
        "PATCH",
        path,
        json_body={key: None for key in ("new", "e", "example.com/c", "z/y", "Z", "A", "m", "r", "com.docker.x")},
    )
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
        for what in (
            "endpoints/8080",
            "endpoints/3000",
            "proxy/8080/x",
            "diagnostics/events",
            "diagnostics/inspect",
            "networkpolicy",
        ):
            side.get(f"{ended}/{what}")
        side.post(f"{ended}/snapshots", {"name": "s"}, f"snapshot after exit {code}")
        side.delete(ended)


@area("endpoints")
def endpoints(side):
    """Endpoints on a bridge."""
    path = f"/v1/sandboxes/{side.create('create')}"
    for port in (
        "8080",
        "44772",
        "18080",
        "3000",
        "1",
        "65535",
        "0",
        "65536",
        "-1",
        "abc",
        "80.0",
        "80.5",
        "+80",
        "080",
        "%2080",
        "8_0",
        "99999999999999999999",
        "0x50",
        "true",
        "",
        "80/",
        "80/x",
    ):
        side.get(f"{path}/endpoints/{port}")
    queries = [
        "use_server_proxy=true",
        "use_server_proxy=false",
        "use_server_proxy=1",
        "use_server_proxy=off",
        "use_server_proxy=YES",
        "use_server_proxy=maybe",
        "use_server_proxy=",
        "use_server_proxy=2",
        "expires=1",
        "expires=abc",
        "expires=1.5",
        "expires=-1",
        "expires=0",
        "expires=",
        "use_server_proxy=true&expires=5",
        "use_server_proxy=false&expires=5",
        "use_server_proxy=x&expires=y",
        "useServerProxy=true",
        "use_server_proxy=true&use_server_proxy=false",
    ]
    for query in queries:
        side.get(f"{path}/endpoints/8080?{query}")
        side.get(f"/v1/sandboxes/{ID}/endpoints/8080?{query}")
    for port in (44772, 3000, 18080, 0, 65536):
        side.get(f"{path}/endpoints/{port}?use_server_proxy=true")
    for port in ("80", "0", "65536", "abc"):
        side.get(f"/v1/sandboxes/{ID}/endpoints/{port}")
    root = path.removeprefix("/v1")
    side.get(f"{root}/endpoints/8080?use_server_proxy=true")
    for name, headers, host in (
        ("a Host", [], "gw.example:9"),
        ("a Host without port", [], "gw.example"),
        ("X-Forwarded-Host", [("X-Forwarded-Host", "other.example")], "gw.example"),
        ("X-Forwarded-Proto", [("X-Forwarded-Proto", "https")], "gw.example"),
        ("X-Forwarded-Prefix", [("X-Forwarded-Prefix", "/p")], "gw.example"),
        ("an IPv6 Host", [], "[::1]:80"),
    ):
        side.get(
            f"{path}/endpoints/8080?use_server_proxy=true",
            f"a proxied endpoint with {name}",
            headers=headers,
            host=host,
        )
    side.get(f"{path.replace('/v1', '/v1')}/endpoints/8080", "a direct endpoint with a Host", host="gw.example:9")


@area("endpoints-lost", config="lost")
def endpoints_lost(side):
    """Endpoints without a sandbox, where the configuration names a public host."""
    for query in ("", "?use_server_proxy=true", "?expires=1", "?use_server_proxy=true&expires=1"):
        side.get(f"/v1/sandboxes/{ID}/endpoints/80{query}")
