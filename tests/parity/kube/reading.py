"""Sandboxes that are there: each row of the status tables, and lists."""

from cluster import COUNTS, agent, batch, pause, pod

from . import area

POOL = "pool.sandbox.opensandbox.io/pool-allocation"
STATUS = "sandbox.opensandbox.io/alloc-status"


def condition(kind, status="True", **more):
    """A condition."""
    return {"type": kind, "status": status, "lastTransitionTime": "2026-11-23T02:00:00Z", **more}


def status(phase=None, **more):
    """A status of a BatchSandbox; no phase is none."""
    return {**COUNTS, "replicas": 1, **({"phase": phase} if phase else {}), **more}


def whole(thing, value):
    """The object with this status alone."""
    thing["status"] = value
    return thing


NO_IP = {"annotations": None}

BATCH = {
    "succeed": batch("sb-succeed"),
    "deleting": batch("sb-deleting", deleting=True),
    "task failed": whole(batch("sb-task"), status("Succeed", taskFailed=2)),
    "task failed, pausing": whole(batch("sb-task-pausing"), status("Pausing", taskFailed=2)),
    "task failed, failed": whole(batch("sb-task-failed"), status("Failed", taskFailed=2)),
    "task failed, no phase": whole(batch("sb-task-none"), status(taskFailed=1)),
    "pausing": whole(batch("sb-pausing"), status("Pausing")),
    "paused": whole(batch("sb-paused"), status("Paused")),
    "resuming": whole(batch("sb-resuming"), status("Resuming")),
    "failed": whole(batch("sb-failed"), status("Failed")),
    "failed with a condition": whole(
        batch("sb-failed-why"),
        status("Failed", conditions=[condition("PauseFailed", message="no pause"), condition("PodFailed", message="no pod")]),
    ),
    "failed with a false condition": whole(
        batch("sb-failed-false"),
        status("Failed", conditions=[condition("PodFailed", "False", message="no"), condition("ResumeFailed", message="yes")]),
    ),
    "no capacity": whole(
        batch("sb-capacity"), status("Pending", conditions=[condition("PoolAllocationPending", message="the pool is full")])
    ),
    "pending": whole(batch("sb-pending"), status("Pending")),
    "no phase, ready": whole(batch("sb-ready"), status(ready=1, allocated=1)),
    "no phase, an address": whole(batch("sb-ip"), status(allocated=1)),
    "no phase, allocated": whole(batch("sb-allocated", metadata=NO_IP), status(allocated=1)),
    "no phase, nothing": whole(batch("sb-nothing", metadata=NO_IP), status()),
    "no status": whole(batch("sb-none", metadata=NO_IP), None),
    "no expiry": batch("sb-forever", spec={"expireTime": None}),
    "metadata": batch(
        "sb-metadata",
        metadata={
            "labels": {
                "project": "apollo",
                "empty": "",
                "opensandbox.io/manual-cleanup": "true",
                "opensandbox.io/tenant": "t",
                "sandbox.opensandbox.io/x": "y",
                "example.com/a": "b",
            }
        },
    ),
    "platform": batch(
        "sb-platform",
        spec={"template": {"spec": {"nodeSelector": {"kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64"}}}},
    ),
    "half a platform": batch("sb-platform-os", spec={"template": {"spec": {"nodeSelector": {"kubernetes.io/os": "linux"}}}}),
    "platform by affinity": batch(
        "sb-affinity",
        spec={
            "template": {
                "spec": {
                    "affinity": {
                        "nodeAffinity": {
                            "requiredDuringSchedulingIgnoredDuringExecution": {
                                "nodeSelectorTerms": [
                                    {
                                        "matchExpressions": [
                                            {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
                                            {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]},
                                        ]
                                    }
                                ]
                            }
                        }
                    }
                }
            }
        },
    ),
    "of a snapshot": batch("sb-snapshot", metadata={"labels": {"opensandbox.io/snapshot-id": "snap-1"}}),
    "no command": batch("sb-command", spec={"template": {"spec": {"containers": [{"name": "sandbox", "image": "x"}]}}}),
    "command and arguments": batch(
        "sb-args",
        spec={"template": {"spec": {"containers": [{"name": "sandbox", "image": "x", "command": ["a"], "args": ["b", "c"]}]}}},
    ),
    "two containers": batch(
        "sb-two",
        spec={
            "template": {
                "spec": {"containers": [{"name": "egress", "image": "e"}, {"name": "sandbox", "image": "x", "command": ["a"]}]}
            }
        },
    ),
    "of a pool": batch("sb-pool", spec={"template": None, "poolRef": "p1", "taskTemplate": {"spec": {"process": {"command": ["a"]}}}}),
    "of a pool, allocated": batch(
        "sb-pool-allocated",
        metadata={"finalizers": [POOL], "annotations": {STATUS: '{"poolRef":"p1","pods":["pod-1"]}'}},
        spec={"template": None, "poolRef": "p1"},
    ),
    "of any pool, allocated": batch(
        "sb-pool-any",
        metadata={"finalizers": [POOL], "annotations": {STATUS: '{"poolRef":"p1","pods":["pod-1"]}'}},
        spec={"template": None, "poolRef": "*"},
    ),
    "of a pool, released": batch(
        "sb-pool-released",
        metadata={
            "finalizers": [POOL],
            "annotations": {
                STATUS: '{"poolRef":"p1","pods":["pod-1"]}',
                "sandbox.opensandbox.io/alloc-release": '{"pods":["pod-1"]}',
            },
        },
        spec={"template": None, "poolRef": "p1"},
    ),
    "bad addresses": batch("sb-bad-ip", metadata={"annotations": {"sandbox.opensandbox.io/endpoints": "no JSON"}}),
    "old time": batch("sb-time", spec={"expireTime": "2001-01-01T00:00:00Z"}),
    "time with a zone": batch("sb-zone", spec={"expireTime": "2099-01-01T02:00:00+02:00"}),
}


@area("status")
def of_batch(side):
    """Each row of the status table of BatchSandboxes, and the other members of a sandbox."""
    for thing in BATCH.values():
        side.put(thing)
    side.put(batch("sandbox-sb-old", metadata={"labels": {"opensandbox.io/id": "sb-old"}}))
    side.settle()
    for name, thing in BATCH.items():
        side.get(f"/v1/sandboxes/{thing['metadata']['name']}", name)
    side.get("/v1/sandboxes/sb-old", "an old name")
    for path in ("nope", "a2c503a7-652a-42be-a827-aa31fab376d3", "-", "A", "a.b"):
        side.get(f"/v1/sandboxes/{path}")


@area("list")
def listing(side):
    """Lists with filters and pages. What was made first has the last name, so that equal seconds do not matter."""
    for number in range(4, 0, -1):
        phase = ("Succeed", "Paused")[number % 2]
        labels = {"number": str(number), "parity": str(number % 2), "empty": ""}
        side.put(whole(batch(f"sb-{number}", metadata={"labels": labels}), status(phase)))
    pause(1.1)
    side.put(batch("sb-9", metadata={"labels": {"number": "9"}}))
    side.put({**batch("no-id"), "metadata": {"name": "no-id"}})
    side.settle()
    queries = (
        "",
        "page=1",
        "page=2",
        "pageSize=1",
        "pageSize=2&page=2",
        "pageSize=2&page=3",
        "pageSize=2&page=4",
        "state=Running",
        "state=running",
        "state=Running&state=Paused",
        "state=nope",
        "state=",
        "metadata=number%3D1",
        "metadata=parity%3D1%26number%3D3",
        "metadata=empty%3D",
        "metadata=nope%3Dx",
        "metadata=opensandbox.io/id%3Dsb-1",
        "metadata=parity%3D1&state=Paused&pageSize=1",
        "metadata=broken",
        "page=0",
        "page=x",
        "pageSize=201",
    )
    for query in queries:
        side.get(f"/v1/sandboxes?{query}")
    side.get("/sandboxes?pageSize=1")


READY = "Ready"
AGENT = {
    "running": agent("sb-running"),
    "expired": whole(agent("sb-expired"), {"conditions": [condition(READY, "False", reason="SandboxExpired", message="over")]}),
    "paused": whole(
        agent("sb-paused", spec={"operatingMode": "Suspended"}),
        {"conditions": [condition("Suspended", reason="Susp", message="it is"), condition(READY, "False", reason="x")]},
    ),
    "resuming": whole(agent("sb-resuming"), {"conditions": [condition("Suspended", reason="Susp", message="it is")]}),
    "pausing": agent("sb-pausing", spec={"operatingMode": "Suspended"}),
    "no condition": whole(agent("sb-none"), {}),
    "no condition, a pod with an address": whole(agent("sb-pod"), {"selector": "app=sb-pod"}),
    "no condition, a pod": whole(agent("sb-pod-bare"), {"selector": "app=sb-pod-bare"}),
    "no condition, a pod that waits with an address": whole(agent("sb-pod-waits"), {"selector": "app=sb-pod-waits"}),
    "not ready, no words": whole(agent("sb-wordless"), {"conditions": [condition(READY, "False")]}),
    "ready, no words": whole(agent("sb-ready-wordless"), {"conditions": [condition(READY)]}),
    "pod succeeded, no words": whole(agent("sb-over-wordless"), {"conditions": [condition(READY, "False", reason="PodSucceeded")]}),
    "pod failed, no words": whole(agent("sb-failed-wordless"), {"conditions": [condition(READY, "False", reason="PodFailed")]}),
    "expired, no words": whole(agent("sb-expired-wordless"), {"conditions": [condition(READY, "False", reason="SandboxExpired")]}),
    "pod succeeded": whole(agent("sb-over"), {"conditions": [condition(READY, "False", reason="PodSucceeded", message="done")]}),
    "pod failed": whole(agent("sb-failed"), {"conditions": [condition(READY, "False", reason="PodFailed", message="broke")]}),
    "not ready": whole(agent("sb-wait"), {"conditions": [condition(READY, "False", reason="DependenciesNotReady", message="soon")]}),
    "no shutdown": agent("sb-forever", spec={"shutdownTime": None}),
    "metadata": agent("sb-metadata", metadata={"labels": {"project": "apollo", "agents.x-k8s.io/x": "y"}}),
    "platform": agent(
        "sb-platform",
        spec={"podTemplate": {"spec": {"nodeSelector": {"kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64"}}}},
    ),
    "unschedulable platform": whole(
        agent("sb-platform-no", spec={"podTemplate": {"spec": {"nodeSelector": {"kubernetes.io/arch": "arm64"}}}}),
        {
            "conditions": [
                condition(
                    READY,
                    "False",
                    reason="Unschedulable",
                    message="0/1 nodes are available: 1 node(s) didn't match kubernetes.io/arch",
                )
            ]
        },
    ),
}


@area("agent-status", "agent")
def of_agent(side):
    """Each row of the status table of agent-sandboxes."""
    for thing in AGENT.values():
        side.put(thing)
    for name in ("sb-pod", "sb-pod-bare"):
        side.put(pod(name, name))
    side.put(pod("sb-pod-waits", "sb-pod-waits", status={"phase": "Pending", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}))
    side.cluster.tell(f"run {side.namespace} sb-pod 127.0.0.1")
    side.put(agent("sandbox-1digit", metadata={"labels": {"opensandbox.io/id": "1digit"}}))
    side.put(agent("sandbox-sb-old", metadata={"labels": {"opensandbox.io/id": "sb-old"}}))
    side.put(agent("upper-case", metadata={"labels": {"opensandbox.io/id": "Upper_Case"}}))
    side.settle("Sandbox")
    for name, thing in AGENT.items():
        side.get(f"/v1/sandboxes/{thing['metadata']['name']}", name)
    for name in ("1digit", "sb-old", "Upper_Case", "nope"):
        side.get(f"/v1/sandboxes/{name}")
    side.get("/v1/sandboxes?state=Paused")
