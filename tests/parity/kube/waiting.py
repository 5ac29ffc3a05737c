"""Creations that wait: until they run, or until it is known that they will not."""

from cluster import event
from creating import condition, created, gone, ready, silent, status, with_pod, with_status

from . import area
from .making import AUTH, OWNED, POOL, of_claim

PLATFORM = {"platform": {"os": "linux", "arch": "arm64"}}
NO_NODE = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."


def unscheduled(message, reason="Unschedulable"):
    """The status of a pod that no node takes."""
    scheduled = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    return {"status": {"phase": "Pending", "conditions": [scheduled]}}


def waits(reason, message="back-off", name="sandbox"):
    """The status of a pod one of whose containers waits."""
    state = {"waiting": {"reason": reason, "message": message}}
    container = {"name": name, "ready": False, "restartCount": 0, "image": "x", "imageID": "", "state": state}
    return {"status": {"phase": "Pending", "containerStatuses": [container]}}


def then_ready(first):
    """This, and then it runs."""

    def play(side, made):
        first(side, made)
        ready(side, made)

    return play


def of_phase(phase, *conditions, **more):
    """The operator writes this status."""
    return with_status(status(phase, conditions=list(conditions), **more))


def warned(message):
    """The operator makes no pod, and says why in an event alone."""

    def play(side, made):
        name = made["metadata"]["name"]
        of = {"kind": made["kind"], "uid": made["metadata"]["uid"]}
        side.put(event(f"{name}.1", name, involvedObject=of, type="Warning", reason="FailedCreate", message=message))

    return play


IP = {"sandbox.opensandbox.io/endpoints": '["127.0.0.1"]'}

ROWS = (
    ("that nobody notices", {}, silent),
    ("that somebody deletes", {}, gone),
    ("that stays pending", {}, of_phase("Pending")),
    ("that fails", {}, of_phase("Failed")),
    ("that fails with a reason", {}, of_phase("Failed", condition("PodFailed", message="the pod broke"))),
    ("whose task fails", {}, of_phase("Succeed", taskFailed=1)),
    ("that is paused", {}, of_phase("Paused")),
    ("without a phase that is ready", {}, with_status(status(allocated=1, ready=1), IP)),
    ("without a phase that has an address", {}, with_status(status(allocated=1), IP)),
    ("without a phase that is allocated", {}, with_status(status(allocated=1))),
    ("that runs without an address", {}, with_status(status("Succeed", allocated=1, ready=1))),
    ("that is pending, then runs", {}, then_ready(of_phase("Pending"))),
    ("with a secret and a claim, that fails", {"image": {"uri": "reg.example/py", "auth": AUTH}, "volumes": [of_claim("p", "made", **OWNED)]}, of_phase("Failed")),
    ("with a claim that nobody notices", {"volumes": [of_claim("p", "made", **OWNED)]}, silent),
    ("that no node takes", PLATFORM, with_pod(**unscheduled(NO_NODE))),
    ("that no node takes, and that wants none", {}, with_pod(**unscheduled(NO_NODE))),
    ("for whose cpu no node has room", PLATFORM, with_pod(**unscheduled("0/3 nodes are available: 3 Insufficient cpu."))),
    ("whose image cannot be pulled", {}, with_pod(**waits("ImagePullBackOff", 'Back-off pulling image "x"'))),
    ("whose image is being pulled again", {}, with_pod(**waits("ErrImagePull", 'failed to pull "x": not found'))),
    ("whose image has no name", {}, with_pod(**waits("InvalidImageName", "couldn't parse image name"))),
    ("whose image is being pulled", {}, with_pod(**waits("ContainerCreating", ""))),
    ("whose pod has no quota", {}, warned('failed to create pod: pods "x" is forbidden: exceeded quota: q, pod: {"metadata":{}}')),
    ("whose pod is forbidden", {}, warned('failed to create pod: pods "x" is forbidden: violates PodSecurity "baseline:latest"')),
)


@area("waiting", "late")
def waiting(side):
    """Each way in which it goes on."""
    for name, fields, play in ROWS:
        created(side, fields, play, name=f"create one {name}")


@area("waiting-pools", "late")
def pools(side):
    """Of a pool, which may have no room."""
    side.put(POOL)
    full = condition("PoolAllocationPending", message="the pool is full")
    pooled = {"extensions": {"poolRef": "p1"}}
    for name, play in (
        ("that is full", of_phase("Pending", full)),
        ("that is full, without a phase", of_phase(None, full)),
        ("that is full for a moment", then_ready(of_phase("Pending", full))),
        ("that does not say why it waits", of_phase("Pending")),
        ("whose task fails", of_phase("Succeed", taskFailed=1)),
        ("whose sandbox fails", of_phase("Failed", full)),
    ):
        created(side, pooled, play, name=f"create one of a pool {name}")


READY = "Ready"


@area("waiting-agent", "late-agent")
def of_agent(side):
    """Agent-sandboxes."""

    def not_ready(reason, message):
        return with_status({"conditions": [condition(READY, "False", reason=reason, message=message)]})

    quota = 'pods "x" is forbidden: exceeded quota: q1, requested: pods=1, used: pods=1, limited: pods=1'
    for name, fields, play in (
        ("that nobody notices", {}, silent),
        ("that runs", {}, ready),
        ("whose pod failed", {}, not_ready("PodFailed", "broke")),
        ("whose pod succeeded", {}, not_ready("PodSucceeded", "over")),
        ("that expired", {}, not_ready("SandboxExpired", "over")),
        ("over the quota", {}, not_ready("ReconcilerError", quota)),
        ("that the operator cannot make", {}, not_ready("ReconcilerError", "no")),
        ("that no node takes", PLATFORM, not_ready("Unschedulable", NO_NODE)),
        ("for whose cpu no node has room", PLATFORM, not_ready("Unschedulable", "0/3 nodes are available: 3 Insufficient cpu.")),
        ("that is suspended", {}, with_status({"conditions": [condition("Suspended", reason="Susp")]})),
        ("whose image cannot be pulled", {}, with_pod(**waits("ImagePullBackOff"))),
        ("with a secret and a claim, that fails", {"image": {"uri": "reg.example/py", "auth": AUTH}, "volumes": [of_claim("p", "made", **OWNED)]}, not_ready("PodFailed", "broke")),
    ):
        created(side, fields, play, name=f"create one {name}")
