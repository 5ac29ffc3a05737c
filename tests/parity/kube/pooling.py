"""Pools: made, shown, changed and deleted."""

from cluster import merged

from . import TENANTS, area
from .making import POOL

CAPACITY = {"bufferMax": 1, "bufferMin": 0, "poolMax": 2, "poolMin": 0}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "sandbox", "image": "x"}], "more": [None, 1.5]}}


def pool(**change):
    """A request for a pool."""
    return {"name": "p1", "template": TEMPLATE, "capacitySpec": CAPACITY, **change}


BROKEN = [
    *(pool(name=name) for name in ("", "A", "a_b", "-a", "a-", "a" * 254, 1, None, "a.b", "a\n")),
    *(pool(template=template) for template in (None, "x", [], 1)),
    *(pool(capacitySpec=capacity) for capacity in (None, {}, [], "x")),
    *(
        pool(capacitySpec={**CAPACITY, "bufferMax": value})
        for value in (-1, "1", "x", 1.0, 1.5, None, True, 2**31, 2**63, 10**30)
    ),
    {},
    [],
    None,
]


@area("pools")
def pools(side):
    """All that can be asked of pools."""
    path = "/v1/pools"
    side.get(path)
    for value in BROKEN:
        side.writing("POST", path, value)
        for name in ("a" * 254, "a\n", "p1"):
            side.cluster.call("DELETE", side.path("Pool", name.strip()))
    for value in (
        pool(),
        pool(),
        pool(name="p2", template={}),
        pool(name="p3", capacity_spec={**CAPACITY, "bufferMin": 5}, unknown=1),
        pool(name="a" * 63),
        pool(name="p4", capacitySpec={"buffer_max": 1, "buffer_min": 2, "pool_max": 3, "pool_min": 4}),
        pool(name="*"),
    ):
        side.writing("POST", path, value)
    side.put(merged(POOL, {"metadata": {"name": "with-status"}, "status": {"total": 2, "allocated": 1, "available": 1, "revision": "r1"}}))
    side.put(merged(POOL, {"metadata": {"name": "half-status"}, "status": {"total": 2, "allocated": 0}}))
    side.put(merged(POOL, {"metadata": {"name": "other-status"}, "status": {"observedGeneration": 1}}))
    side.put(merged(POOL, {"metadata": {"name": "no-status"}, "status": {}}))
    side.put(merged(POOL, {"metadata": {"name": "no-capacity"}, "spec": {"capacitySpec": None}}))
    side.put(merged(POOL, {"metadata": {"name": "deleting"}, "deleting": True}))
    for name in ("", "/p1", "/p2", "/p3", "/with-status", "/half-status", "/other-status", "/no-status", "/no-capacity", "/deleting", "/nope", "/A", "/a.b", "/%20"):
        side.get(f"{path}{name}")
    for name, value in (
        ("p1", {"capacitySpec": {**CAPACITY, "poolMax": 6}}),
        ("p1", {"capacitySpec": CAPACITY, "template": {}, "name": "p2"}),
        ("p1", {"capacitySpec": {}}),
        ("p1", {}),
        ("nope", {"capacitySpec": CAPACITY}),
        ("nope", {}),
        ("deleting", {"capacitySpec": CAPACITY}),
        ("with-status", {"capacitySpec": {**CAPACITY, "poolMax": 7}}),
    ):
        side.writing("PUT", f"{path}/{name}", value)
    side.ask(None, "PATCH", f"{path}/p1", json_body={"capacitySpec": CAPACITY})
    side.get("/pools/p1")
    for name in ("p1", "p1", "nope", "deleting", "A", "p2", "p3", "p4", "a" * 63):
        side.writing("DELETE", f"{path}/{name}")
    side.get(path, "what is left")


@area("pools-faults")
def faults(side):
    """A cluster that refuses. `missing` is 404, as of a kind that is not there."""
    side.put(POOL)
    for answer in ("403", "missing", "409", "422", "429", "500", "503", "html"):
        for method, name, value, text in (
            ("POST", "", pool(name="made"), "pools"),
            ("GET", "", None, "pools"),
            ("GET", f"/no-{answer}", None, f"pools/no-{answer}"),
            ("PUT", "/p1", {"capacitySpec": CAPACITY}, "pools/p1"),
            ("DELETE", "/p1", None, "pools/p1"),
        ):
            side.fault("PATCH" if method == "PUT" else method, text, answer, 99)
            more = {} if value is None else {"json_body": value}
            side.ask(f"{method} of a pool{name and ' by name'} against {answer}", method, f"/v1/pools{name}", **more)
            side.heal(text)


@area("pools-tenants", "tenants")
def of_tenants(side):
    """Whose a pool is."""
    keys = {name: key for name, (_, key) in TENANTS.items()}
    side.ask("a: make a pool", "POST", "/v1/pools", json_body=pool(), key=keys["a"])
    for name, key in (*keys.items(), ("an unknown key", "nope"), ("no key", None)):
        side.get("/v1/pools", f"{name}: list", key=key)
        side.get("/v1/pools/p1", f"{name}: get", key=key)
    side.ask("b: change a's pool", "PUT", "/v1/pools/p1", json_body={"capacitySpec": CAPACITY}, key=keys["b"])
    side.ask("b: delete a's pool", "DELETE", "/v1/pools/p1", key=keys["b"])
    side.ask("a: delete its pool", "DELETE", "/v1/pools/p1", key=keys["a"])


@area("pools-agent", "agent")
def beside_agents(side):
    """Beside agent-sandboxes."""
    side.get("/v1/pools")
    side.writing("POST", "/v1/pools", pool())
    side.writing("DELETE", "/v1/pools/p1")
