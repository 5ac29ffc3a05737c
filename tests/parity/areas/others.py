"""What Docker has not (pools, templates), and diagnostics, network policy and metrics."""

import time

from . import area
from .service import ID

CAPACITY = {"bufferMax": 1, "bufferMin": 0, "poolMax": 1, "poolMin": 0}


@area("kubernetes-only")
def kubernetes_only(side):
    """501 after the schema's rules."""
    pool = {"name": "p", "template": {}, "capacitySpec": CAPACITY}
    for body in (
        pool,
        {**pool, "more": 1},
        {},
        {**pool, "name": "P_"},
        {**pool, "name": ""},
        {**pool, "name": "a" * 254},
        {**pool, "template": []},
        {**pool, "capacitySpec": {}},
        {**pool, "capacitySpec": {"bufferMax": -1}},
        {**pool, "capacitySpec": {**CAPACITY, "poolMin": "x"}},
        {**pool, "capacitySpec": {**CAPACITY, "poolMin": 1.5}},
        {**pool, "capacitySpec": {**CAPACITY, "poolMin": "2"}},
        [],
        None,
        "x",
        {
            "name": "p",
            "template": {},
            "capacity_spec": {"buffer_max": 1, "buffer_min": 0, "pool_max": 1, "pool_min": 0},
        },
    ):
        side.post("/v1/pools", body, f"make the pool {str(body)[:120]}")
        side.ask(f"change a pool to {str(body)[:120]}", "PUT", "/v1/pools/p", json_body=body)
    for body in ({"capacitySpec": CAPACITY}, {"capacitySpec": None}):
        side.ask(f"change a pool to {body}", "PUT", "/pools/p", json_body=body)
    for method, path in (
        ("GET", "/v1/pools"),
        ("GET", "/pools"),
        ("GET", "/v1/pools/p"),
        ("DELETE", "/v1/pools/p"),
        ("GET", "/v1/templates"),
        ("GET", "/v1/templates/t"),
        ("DELETE", "/templates/t"),
        ("GET", "/v1/templates?page=0"),
        ("GET", "/v1/templates?pageSize=201"),
        ("GET", "/v1/templates?page=x&pageSize=y"),
        ("GET", "/v1/templates?metadata=broken"),
        ("GET", "/v1/pools?page=0"),
    ):
        side.ask(None, method, path)
    template = {"image": "x", "publish": "s3://b"}
    for body in (
        template,
        {},
        {**template, "image": ""},
        {**template, "publish": ""},
        {**template, "format": "zip"},
        {**template, "format": "native"},
        {**template, "foo": 1},
        {**template, "resourceLimits": {"gpu": "1"}},
        {**template, "resourceLimits": {"cpu": 1}},
        {**template, "entrypoint": []},
        {**template, "entrypoint": [1]},
        {**template, "env": {"1A": "x"}},
        {**template, "env": {"A": 1}},
        {**template, "metadata": {"-": "x"}},
        {**template, "metadata": []},
        {**template, "readiness": {"warmupSeconds": -1}},
        {**template, "readiness": {"x": 1}},
        {**template, "readiness": {"probe": 1}},
        {**template, "image": 1, "format": 2, "zzz": 3},
        [],
        None,
    ):
        side.post("/v1/templates", body, f"make the template {str(body)[:120]}")


@area("metrics")
def metrics(side):
    """What SDKs report."""
    event = {"eventType": "sandbox.create", "createDurationMs": 5, "success": True}
    for body in (
        event,
        {**event, "sandboxId": "x", "image": "y"},
        {**event, "success": "yes"},
        {**event, "success": "maybe"},
        {**event, "eventType": "x"},
        {**event, "createDurationMs": -1},
        {**event, "createDurationMs": "7"},
        {**event, "createDurationMs": 1.5},
        {**event, "createDurationMs": 2.0},
        {**event, "sandboxId": 1},
        {**event, "image": []},
        {**event, "more": 1},
        {"event_type": "sandbox.create", "create_duration_ms": 1, "success": 0},
        {},
        [],
        None,
    ):
        side.post("/v1/metrics/events", body, f"the event {body}")
    side.ask(
        "an event of an SDK",
        "POST",
        "/v1/metrics/events",
        json_body=event,
        headers=[("User-Agent", "OpenSandbox-Python-SDK/1.1.1")],
    )
    side.ask("no event", "POST", "/v1/metrics/events")


@area("diagnostics")
def diagnostics(side):
    """Logs, events, inspection and summary of a sandbox that printed something."""
    # The engine reads the two streams apart: without the pause their order would be chance.
    script = "echo one >&2; sleep 0.5; echo two; printf 'r\\rr\\n'; printf '\\377\\n'; i=0; while [ $i -lt 120 ]; do echo line $i; i=$((i+1)); done; echo done; exec sleep 100000"
    env = {"API_KEY": "k", "DB_PASS": "p", "MY_TOKEN": "t", "PLAIN": "v", "lower_secret": "s", "EMPTY_PASSWORD": ""}
    made = side.create("create", entrypoint=["sh", "-c", script], metadata={"b": "2", "a": "1"}, env=env)
    base = f"/v1/sandboxes/{made}/diagnostics"
    ready(side, base)
    for query in (
        "",
        "tail=1",
        "tail=3",
        "tail=200",
        "tail=10000",
        "tail=0",
        "tail=-1",
        "tail=10001",
        "tail=x",
        "tail=",
        "since=1h",
        "since=",
        "since=1s",
        "since=0s",
        "since=junk",
        "since=1h30m",
        "since=-5m",
        "since=10",
        "since=1D",
        "since=%205%20m%20",
        "since=99999d",
        "container=x",
        "container=",
        "tail=2&since=1h&container=y",
        "scope=container",
        "scope=all",
        "scope=ALL",
        "scope=%20container%20",
        "scope=",
        "scope=bad",
        "scope=runtime",
        "scope=container&tail=0",
        "scope=container&tail=3",
        "scope=all&since=junk",
        "scope=container&scope=all",
        "tail=5&tail=2",
    ):
        if query not in ("since=1s", "since=0s"):
            side.get(f"{base}/logs?{query}")
    for query in (
        "",
        "limit=1",
        "limit=500",
        "limit=0",
        "limit=501",
        "limit=x",
        "scope=runtime",
        "scope=all",
        "scope=RUNTIME",
        "scope=",
        "scope=container",
        "scope=bad",
        "scope=runtime&limit=0",
    ):
        side.get(f"{base}/events?{query}")
    for query in ("", "x=1"):
        side.get(f"{base}/inspect?{query}")
    for query in (
        "",
        "tail=1",
        "tail=0",
        "tail=10001",
        "tail=x",
        "event_limit=1",
        "event_limit=0",
        "event_limit=501",
        "event_limit=x",
        "tail=x&event_limit=y",
        "tail=3&event_limit=3",
    ):
        side.get(f"{base}/summary?{query}")
    for what in (
        "logs",
        "events",
        "inspect",
        "summary",
        "logs?scope=container",
        "logs?scope=bad",
        "events?scope=bad",
        "logs?tail=0",
        "events?limit=x",
    ):
        side.get(f"/v1/sandboxes/{ID}/diagnostics/{what}", f"{what} of none")
        side.get(f"/sandboxes/fsb-1/diagnostics/{what}", f"{what} of fsb-1")
    for accept in ("application/json", "text/plain", "*/*"):
        side.get(f"{base}/logs?tail=1", f"logs with Accept {accept}", headers=[("Accept", accept)])
    quiet = side.create("create a quiet one")
    for what in ("logs", "logs?scope=all", "summary", "events", "inspect"):
        side.get(f"/v1/sandboxes/{quiet}/diagnostics/{what}", f"{what} of a quiet one")
    side.get(f"/v1/sandboxes/{made}/diagnostics/other")


def ready(side, base):
    """Waits for the script's last line."""
    for _ in range(200):
        if b" done" in side.quietly("GET", f"{base}/logs?tail=1").body:
            return
        time.sleep(0.05)


@area("network-policy")
def network_policy(side):
    """Forwarding to a sidecar that is not there, and the schema's rules before it."""
    made = side.create("create")
    for path in (
        f"/v1/sandboxes/{made}/networkpolicy",
        f"/v1/sandboxes/{ID}/networkpolicy",
        "/v1/sandboxes/fsb-x/networkpolicy",
    ):
        side.get(path)
        for method, bodies in (
            (
                "PUT",
                (
                    {},
                    {"defaultAction": "deny", "egress": [{"action": "allow", "target": "x"}]},
                    [],
                    {"egress": [{"action": "allow", "target": ""}]},
                    {"egress": {}},
                    None,
                ),
            ),
            ("PATCH", ([], [{"action": "deny", "target": "y"}], {}, [{}], [{"action": 1, "target": "y"}], ["x"], None)),
            ("DELETE", (["x"], [], {}, [1], None)),
        ):
            for body in bodies:
                side.ask(f"{method} {path} {body}", method, path, json_body=body)
        side.ask(None, "DELETE", path)
