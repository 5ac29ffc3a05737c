"""Tenants: whose a request is, and what it reaches."""

from cluster import batch, claim, pod

from . import TENANTS, area

LABEL = "opensandbox.io/tenant"


def owned(name, tenant):
    """A sandbox of a tenant, or of none."""
    labels = {"opensandbox.io/id": name, "of": tenant or "none"}
    return batch(name, metadata={"labels": labels | ({LABEL: tenant} if tenant else {})})


@area("tenants", "tenants")
def tenants(side):
    """Three tenants, two of which share a namespace; everything is asked for with each key."""
    base = side.namespace
    side.namespace = f"{base}-b"
    side.put(owned("sb-b", "b"))
    side.namespace = f"{base}-a"
    for name, tenant in (("sb-a", "a"), ("sb-c", "c"), ("sb-none", None)):
        side.put(owned(name, tenant))
    side.put(pod("sb-a-0", "sb-a"))
    side.put(claim("claim-a", "sb-a"))
    side.settle(**{LABEL: "a"})
    side.names.learn(str(side.backend), "<backend>")
    keys = [key for _, key in TENANTS.values()]
    for key in (*keys, "nope", None):
        who = next((name for name, (_, own) in TENANTS.items() if own == key), key)
        for path in (
            "sandboxes",
            "sandboxes?metadata=of%3Da",
            "sandboxes/sb-a",
            "sandboxes/sb-b",
            "sandboxes/sb-c",
            "sandboxes/sb-none",
            "sandboxes/sb-a/endpoints/8080",
            "sandboxes/sb-a/diagnostics/inspect",
            "sandboxes/sb-a/diagnostics/events",
            f"sandboxes/sb-a/proxy/{side.backend}/",
        ):
            side.get(f"/v1/{path}", f"{who}: {path}", key=key)
    for key in (keys[2], keys[1], "nope", None, keys[0]):
        side.writing("PATCH", "/v1/sandboxes/sb-a/metadata", {"n": "v"}, key=key)
        side.writing("POST", "/v1/sandboxes/sb-a/renew-expiration", {"expiresAt": "2098-01-01T00:00:00Z"}, key=key)
        side.writing("DELETE", "/v1/sandboxes/sb-a", key=key)
        left = [name for kind, name, _ in side.mine if kind == "PersistentVolumeClaim" and side.object(kind, name)]
        side.note(f"claims that are left after {len(side.records)}", left)
    side.get("/health", "health without a key", key=None)
