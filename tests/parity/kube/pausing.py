"""Pausing and resuming: what is allowed in which state, and what is written."""

from cluster import agent, batch
from creating import condition, status

from . import area
from .reading import whole

FAILED = {kind: condition(kind, message="no") for kind in ("PauseFailed", "ResumeFailed", "PodFailed")}
PHASES = ("Pending", "Succeed", "Pausing", "Paused", "Resuming", "Failed", None)
NO_IP = {"annotations": None}


def batches():
    """Name to a BatchSandbox."""
    for phase in PHASES:
        yield f"{phase}".lower(), whole(batch("x"), status(phase))
        for kind, found in FAILED.items():
            yield f"{phase}-{kind}".lower(), whole(batch("x"), status(phase, conditions=[found]))
    both = [FAILED["PauseFailed"], FAILED["ResumeFailed"]]
    yield "succeed-both", whole(batch("x"), status("Succeed", conditions=both))
    yield "paused-both", whole(batch("x"), status("Paused", conditions=both))
    untrue = [condition("PauseFailed", "False"), condition("ResumeFailed", "False")]
    yield "succeed-untrue", whole(batch("x"), status("Succeed", conditions=untrue))
    yield "paused-untrue", whole(batch("x"), status("Paused", conditions=untrue))
    yield "succeed-asked", batch("x", spec={"pause": True})
    yield "succeed-resumed", batch("x", spec={"pause": False})
    yield "paused-asked", whole(batch("x", spec={"pause": True}), status("Paused"))
    yield "succeed-task", whole(batch("x"), status("Succeed", taskFailed=1))
    yield "none-ready", whole(batch("x"), status(allocated=1, ready=1))
    yield "none-nothing", whole(batch("x", metadata=NO_IP), None)
    yield "pending-full", whole(batch("x"), status("Pending", conditions=[condition("PoolAllocationPending", message="full")]))
    yield "succeed-deleting", batch("x", deleting=True)
    yield "paused-deleting", whole(batch("x", deleting=True), status("Paused"))
    yield "pooled", batch("x", spec={"template": None, "poolRef": "p1"})


def agents():
    """Name to a Sandbox."""
    suspended = condition("Suspended", reason="Susp", message="it is")
    unready = {reason: condition("Ready", "False", reason=reason, message="m") for reason in ("PodFailed", "PodSucceeded", "SandboxExpired", "x")}
    yield "running", agent("x")
    yield "pausing", agent("x", spec={"operatingMode": "Suspended"})
    yield "paused", whole(agent("x", spec={"operatingMode": "Suspended"}), {"conditions": [suspended]})
    yield "resuming", whole(agent("x"), {"conditions": [suspended]})
    for reason, found in unready.items():
        yield reason.lower(), whole(agent("x"), {"conditions": [found]})
    yield "none", whole(agent("x"), {})
    yield "deleting", agent("x", deleting=True)


def named(thing, name):
    """The object under this name."""
    labels = {**thing["metadata"].get("labels", {}), "opensandbox.io/id": name}
    return {**thing, "metadata": {**thing["metadata"], "name": name, "labels": labels}}


def both_ways(side, rows, kind):
    """Each object is paused, and another one like it resumed; then what a GET says."""
    rows = list(rows)
    for name, thing in rows:
        for what in ("pause", "resume"):
            side.put(named(thing, f"{what}-{name}"))
    side.settle(kind)
    for name, _ in rows:
        for what in ("pause", "resume"):
            path = f"/v1/sandboxes/{what}-{name}"
            side.writing("POST", f"{path}/{what}")
            side.get(path, f"get after {what}: {name}")
    for name in ("nope", "fsb-x", "A_b"):
        for what in ("pause", "resume"):
            side.writing("POST", f"/v1/sandboxes/{name}/{what}")


@area("pausing")
def of_batch(side):
    """BatchSandboxes."""
    old = batch("sandbox-sb-old", metadata={"labels": {"opensandbox.io/id": "sb-old"}})
    side.put(old)
    both_ways(side, batches(), "BatchSandbox")
    side.writing("POST", "/v1/sandboxes/sb-old/pause")
    side.writing("POST", "/sandboxes/sb-old/resume", {"any": "body"})


@area("pausing-agent", "agent")
def of_agent(side):
    """Agent-sandboxes."""
    both_ways(side, agents(), "Sandbox")


@area("pausing-faults")
def faults(side):
    """A cluster that refuses."""
    side.put(batch("sb-runs"))
    side.put(whole(batch("sb-again"), status("Succeed", conditions=[FAILED["PauseFailed"]])))
    side.put(whole(batch("sb-paused"), status("Paused")))
    side.settle()
    for answer in ("403", "missing", "409", "422", "429", "500", "503", "html"):
        for name, what in (("sb-runs", "pause"), ("sb-again", "pause"), ("sb-paused", "resume")):
            side.fault("PATCH", f"batchsandboxes/{name}", answer, 99)
            side.ask(f"{what} {name} against {answer}", "POST", f"/v1/sandboxes/{name}/{what}")
            side.heal(f"batchsandboxes/{name}")
