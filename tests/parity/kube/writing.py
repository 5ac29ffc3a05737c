"""What is written into the cluster: metadata, renewal, deletion; and what goes wrong there."""

from cluster import agent, batch, claim

from . import area

LATER = "2098-01-02T03:04:05.678901+01:00"


@area("metadata")
def metadata(side):
    """Patches of the labels."""
    labels = {"project": "apollo", "keep": "1", "sandbox.opensandbox.io/x": "y", "opensandbox.io/manual-cleanup": "true"}
    side.put(batch("sb-1", metadata={"labels": labels}))
    side.settle()
    path = "/v1/sandboxes/sb-1/metadata"
    for value in (
        {"project": "zeus"},
        {"project": None, "n": "v"},
        {"gone": None},
        {},
        {"project": "zeus"},
        {"project": "zeus"},
        {"empty": ""},
        {"example.com/a": "b"},
        {"opensandbox.io/id": "x"},
        {"opensandbox.io/own": "x"},
        {"bad key": "x"},
        {"k": "bad value!"},
        {"k": "x" * 64},
        {"x" * 64: "v"},
        {"k": 1},
        [],
    ):
        side.writing("PATCH", path, value)
        side.note(f"object after {len(side.records)}", side.object("BatchSandbox", "sb-1"))
    side.get("/v1/sandboxes/sb-1")
    side.writing("PATCH", "/v1/sandboxes/nope/metadata", {"a": "b"})


@area("renew")
def renew(side):
    """Renewals."""
    side.put(batch("sb-1"))
    side.put(batch("sb-forever", spec={"expireTime": None}))
    side.settle()
    path = "/v1/sandboxes/sb-1/renew-expiration"
    for time in ("2098-12-01T00:00:00Z", LATER, "2097-12-01T00:00:00", "2097-12-01T00:00:00.5Z", "2020-01-01T00:00:00Z", "x", 4070908800):
        side.writing("POST", path, {"expiresAt": time})
        side.note(f"object after {len(side.records)}", side.object("BatchSandbox", "sb-1"))
    side.get("/v1/sandboxes/sb-1")
    for name in ("sb-forever", "nope"):
        for time in (LATER, "2020-01-01T00:00:00Z"):
            side.writing("POST", f"/v1/sandboxes/{name}/renew-expiration", {"expiresAt": time})


@area("delete")
def delete(side):
    """Deletions with their sweeps of volume claims."""
    side.put(batch("sb-1"))
    side.put(batch("sandbox-sb-old", metadata={"labels": {"opensandbox.io/id": "sb-old"}}))
    held = batch("sb-held", metadata={"finalizers": ["parity.example/hold"]})
    side.put(held)
    for name, of, managed in (
        ("claim-a", "sb-1", True),
        ("claim-b", "sb-1", True),
        ("claim-other", "sb-1", False),
        ("claim-of-other", "sb-2", True),
        ("claim-of-none", "nope", True),
    ):
        side.put(claim(name, of, managed))
    side.settle()
    for name in ("sb-1", "sb-1", "sb-old", "nope", "sb-held", "sb-held"):
        side.writing("DELETE", f"/v1/sandboxes/{name}")
        side.get(f"/v1/sandboxes/{name}", f"get after {len(side.records)}")
    left = [name for kind, name, _ in side.mine if kind == "PersistentVolumeClaim" and side.object(kind, name)]
    side.note("claims that are left", left)


@area("agent-writes", "agent")
def of_agent(side):
    """The same of agent-sandboxes."""
    side.put(agent("sb-1", metadata={"labels": {"project": "apollo"}}))
    side.put(agent("sandbox-1digit", metadata={"labels": {"opensandbox.io/id": "1digit"}}))
    side.put(agent("sb-forever", spec={"shutdownTime": None}))
    side.put(claim("claim-a", "sb-1"))
    side.settle("Sandbox")
    for name in ("sb-1", "1digit", "sb-forever", "nope"):
        side.writing("PATCH", f"/v1/sandboxes/{name}/metadata", {"project": None, "n": "v"})
        side.writing("POST", f"/v1/sandboxes/{name}/renew-expiration", {"expiresAt": LATER})
        side.get(f"/v1/sandboxes/{name}", f"get {name} after both")
        side.writing("DELETE", f"/v1/sandboxes/{name}")
        side.get(f"/v1/sandboxes/{name}", f"get {name} after all")


@area("errors")
def errors(side):
    """An API server that refuses."""
    side.put(batch("sb-1"))
    side.put(claim("claim-a", "sb-1"))
    side.settle()
    for status in ("403", "409", "422", "429", "500", "503", "html"):
        for what, method, text, ask in (
            ("patch", "PATCH", "batchsandboxes/sb-1", ("PATCH", "sb-1/metadata", {"a": status})),
            ("renew", "PATCH", "batchsandboxes/sb-1", ("POST", "sb-1/renew-expiration", {"expiresAt": LATER})),
            ("delete", "DELETE", "batchsandboxes/sb-1", ("DELETE", "sb-1", None)),
            # A name of its own for each: what is not there is believed for a second.
            ("get of one that is not known", "GET", f"batchsandboxes/no-{status}", ("GET", f"no-{status}", None)),
        ):
            side.fault(method, text, status, 99)
            more = {} if ask[2] is None else {"json_body": ask[2]}
            side.ask(f"{what} against {status}", ask[0], f"/v1/sandboxes/{ask[1]}", **more)
            side.heal(text)
