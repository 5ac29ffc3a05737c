"""Snapshots: checked, made, watched, restored from and deleted."""

from areas.service import ID
from cluster import agent, batch, pod
from creating import condition, created, status
from side import DROP

from . import TENANTS, area
from .reading import whole
from .tenants import LABEL, owned
from .windows import BIG, WINDOWS

MERGE = "application/merge-patch+json"


def running(side, name, **change):
    """A sandbox whose pod runs."""
    side.put(batch(name))
    runs(side, f"{name}-0", name, **change)


def runs(side, name, sandbox, **change):
    """A pod that runs."""
    side.put(pod(name, sandbox, **change))
    side.cluster.tell(f"run {side.namespace} {name} 127.0.0.1")


def taken(side, sandbox, name, value=None, key=None):
    """Asks for a snapshot and compares the object; gives its id, or None."""
    side.calls()
    more = {"key": key} if key else {}
    answer = side.ask(name, "POST", f"/v1/sandboxes/{sandbox}/snapshots", json_body=value or {}, **more)
    made = side.adopt(answer)
    calls = side.calls()
    for call in (call for call in calls if call["method"] == "POST"):
        # The id of one that was refused is in its object alone.
        id = call["body"]["metadata"]["labels"]["opensandbox.io/snapshot-id"]
        side.names.learn(id, f"<id {side.tried}>")
        side.names.learn(id.replace("-", ""), f"<hex of {side.tried}>")
    side.note(f"calls of {name}", calls)
    return made


def become(side, made, change):
    """The operator writes the status of a snapshot."""
    path = side.path("SandboxSnapshot", f"osb-snap-{made.replace('-', '')}")
    side.cluster.call("PATCH", f"{path}/status", {"status": change}, MERGE)


def image(name, uri="reg.example/snap:1"):
    """A container's image in the status of a snapshot."""
    return {"containerName": name, "imageUri": uri}


STATES = {
    "a container": {"phase": "Succeed", "containers": [image("sandbox")]},
    "another container alone": {"phase": "Succeed", "containers": [image("main")]},
    "two containers": {"phase": "Succeed", "containers": [image("egress", "e"), image("sandbox")]},
    "two other containers": {"phase": "Succeed", "containers": [image("a"), image("b")]},
    "no container": {"phase": "Succeed", "containers": []},
    "no list": {"phase": "Succeed"},
    "an empty image": {"phase": "Succeed", "containers": [image("sandbox", "")]},
    "another format": {"phase": "Succeed", "containers": [image("sandbox")], "format": "qemu-v1"},
    "an unknown format": {"phase": "Succeed", "containers": [image("sandbox")], "format": "oci"},
    "a failure": {"phase": "Failed", "conditions": [condition("Failed", reason="CommitFailed", message="no room")]},
    "a failure without a reason": {"phase": "Failed"},
    "an untrue failure": {"phase": "Failed", "conditions": [condition("Failed", "False", reason="x", message="y")]},
    "a wait": {"phase": "Pending"},
    "work": {"phase": "Committing"},
    "nothing": {},
}


@area("snapshots")
def snapshots(side):
    """A sandbox, a snapshot in each state, and what can be asked of them."""
    running(side, "sb-1")
    side.settle()
    made = {}
    for name, change in STATES.items():
        made[name] = taken(side, "sb-1", f"snapshot that has {name}", {"name": name})
        if made[name]:
            become(side, made[name], change)
    for name, id in made.items():
        waits = name in ("a wait", "work", "nothing")
        side.until(f"/v1/snapshots/{id}", lambda seen, waits=waits: waits or seen.get("status", {}).get("state") != "Creating", 5)
        side.get(f"/v1/snapshots/{id}", f"get the snapshot that has {name}")
        created(side, {"image": DROP, "entrypoint": DROP, "snapshotId": id}, name=f"restore from what has {name}")
    for query in ("", "&state=Ready", "&state=Creating", "&state=Failed&pageSize=2", "&name=a%20container", "&page=2&pageSize=4"):
        side.get(f"/v1/snapshots?sandboxId=sb-1{query}")
    ready = made["a container"]
    for fields in (
        {"entrypoint": ["sleep", "1"], "metadata": {"of": "restored"}},
        {"platform": {"os": "linux", "arch": "amd64"}, "timeout": None},
        {"image": {"uri": ""}},
        {"extensions": {"poolRef": "*"}},
    ):
        created(side, {"image": DROP, "snapshotId": ready, **fields}, name=f"restore with {sorted(fields)}")
    for name, fields in (("", {}), (" without a command", {"entrypoint": DROP}), (" too small", {"resourceLimits": {"cpu": "1"}})):
        row = {"platform": WINDOWS, "resourceLimits": BIG, "image": DROP, "snapshotId": ready, **fields}
        created(side, row, name=f"restore as Windows{name}")
    for name, id in made.items():
        side.calls()
        side.delete(f"/v1/snapshots/{id}", f"delete the snapshot that has {name}")
        side.note(f"calls of the deletion of what has {name}", side.calls())
        side.get(f"/v1/snapshots/{id}", f"get after the deletion of what has {name}")
    created(side, {"image": DROP, "snapshotId": ready}, name="restore from what is deleted")
    for id in (ID, "nope"):
        side.get(f"/v1/snapshots/{id}")
        side.delete(f"/v1/snapshots/{id}")
        created(side, {"image": DROP, "snapshotId": id}, name=f"restore from {id}")


@area("snapshots-lost")
def lost(side):
    """Objects that somebody deletes."""
    running(side, "sb-1")
    side.settle()
    for name, change in (("nothing", None), ("a container", STATES["a container"])):
        made = taken(side, "sb-1", f"snapshot that has {name}")
        if made is None:
            continue
        path = f"/v1/snapshots/{made}"
        if change:
            become(side, made, change)
            side.until(path, lambda seen: seen.get("status", {}).get("state") != "Creating", 5)
        side.cluster.call("DELETE", side.path("SandboxSnapshot", f"osb-snap-{made.replace('-', '')}"))
        side.until(path, lambda seen: seen.get("status", {}).get("state") == "Failed", 2)
        side.get(path, f"get what had {name} and was deleted")
        side.delete(path, f"delete what had {name} and was deleted")
        side.get(path, f"get after the deletion of what had {name}")


@area("snapshots-refused")
def refused(side):
    """Sandboxes that cannot be saved."""
    for name in ("runsc", "runsc-kvm", "other"):
        at = "/apis/node.k8s.io/v1/runtimeclasses"
        if side.cluster.call("GET", f"{at}/{name}") is None:
            try:
                side.cluster.call("POST", at, {"metadata": {"name": name}, "handler": name})
            except RuntimeError as error:
                # The other side was first.
                if "409" not in str(error):
                    raise
        running(side, f"sb-{name}", spec={"runtimeClassName": name})
    running(side, "sb-no-class", spec={"runtimeClassName": "nowhere"})
    side.put(batch("sb-bare"))
    side.put(batch("sb-waits"))
    side.put(pod("sb-waits-0", "sb-waits"))
    owner = side.put(batch("sb-labelled"))
    of = {"opensandbox.io/id": None, "batch-sandbox.sandbox.opensandbox.io/name": "sb-labelled"}
    owned_by = {**{key: owner[key] for key in ("apiVersion", "kind")}, "name": "sb-labelled", "uid": owner["metadata"]["uid"]}
    runs(side, "any-name", "sb-labelled", metadata={"labels": of, "ownerReferences": [{**owned_by, "controller": True}]})
    side.put(batch("sandbox-sb-old", metadata={"labels": {"opensandbox.io/id": "sb-old"}}))
    runs(side, "sandbox-sb-old-0", "sb-old")
    for phase in ("Pending", "Paused", "Pausing", "Failed"):
        side.put(whole(batch(f"sb-{phase.lower()}"), status(phase)))
    side.put(batch("sb-deleting", deleting=True))
    allocated = {
        "sandbox.opensandbox.io/alloc-status": '{"poolRef":"p1","pods":["pool-pod"]}',
        "sandbox.opensandbox.io/endpoints": '["127.0.0.1"]',
    }
    pooled = {"annotations": allocated, "finalizers": ["pool.sandbox.opensandbox.io/pool-allocation"]}
    side.put(batch("sb-pooled", metadata=pooled, spec={"template": None, "poolRef": "p1"}))
    runs(side, "pool-pod", "sb-pooled", metadata={"labels": {"opensandbox.io/id": None}})
    side.settle()
    for name in (
        *("sb-runsc", "sb-runsc-kvm", "sb-other", "sb-no-class", "sb-bare", "sb-waits", "sb-labelled", "sb-old"),
        *("sb-pending", "sb-paused", "sb-pausing", "sb-failed", "sb-deleting", "sb-pooled", "nope", "fsb-x"),
    ):
        made = taken(side, name, f"snapshot of {name}")
        if made:
            become(side, made, STATES["a container"])
            side.until(f"/v1/snapshots/{made}", lambda seen: seen.get("status", {}).get("state") != "Creating", 5)
            side.delete(f"/v1/snapshots/{made}", f"delete the snapshot of {name}")


@area("snapshots-faults")
def faults(side):
    """A cluster that refuses. `missing` is 404, as of a kind that is not there."""
    running(side, "sb-1")
    side.settle()
    for answer in ("403", "missing", "409", "422", "429", "500", "503", "html"):
        for method, text in (("POST", "sandboxsnapshots"), ("GET", "pods")):
            side.fault(method, text, answer, 99)
            made = taken(side, "sb-1", f"snapshot against {answer} of {method} {text}")
            side.heal(text)
            if made:
                side.quietly("DELETE", f"/v1/snapshots/{made}")
        made = taken(side, "sb-1", f"snapshot before {answer}")
        become(side, made, STATES["a container"])
        side.until(f"/v1/snapshots/{made}", lambda seen: seen.get("status", {}).get("state") != "Creating", 5)
        side.fault("DELETE", "sandboxsnapshots", answer, 99)
        side.delete(f"/v1/snapshots/{made}", f"delete a snapshot against {answer}")
        side.get(f"/v1/snapshots/{made}", f"get a snapshot whose deletion was refused with {answer}")
        side.heal("sandboxsnapshots")
        side.delete(f"/v1/snapshots/{made}", f"delete again what was refused with {answer}")
        side.get(f"/v1/snapshots/{made}", f"get after the second deletion, {answer}")


@area("snapshots-agent", "agent")
def of_agent(side):
    """Agent-sandboxes cannot be saved."""
    side.put(agent("sb-1"))
    runs(side, "sb-1", "sb-1")
    side.put(agent("sb-paused", spec={"operatingMode": "Suspended"}))
    side.settle("Sandbox")
    for name in ("sb-1", "sb-paused", "nope"):
        taken(side, name, f"snapshot of {name}")


@area("snapshots-tenants", "tenants")
def of_tenants(side):
    """Whose a snapshot is."""
    base = side.namespace
    side.namespace = f"{base}-a"
    side.put(owned("sb-a", "a"))
    runs(side, "sb-a-0", "sb-a")
    side.settle(**{LABEL: "a"})
    keys = {name: key for name, (_, key) in TENANTS.items()}
    for name in ("b", "c"):
        taken(side, "sb-a", f"{name}: snapshot of a's sandbox", key=keys[name])
    made = taken(side, "sb-a", "a: snapshot", key=keys["a"])
    become(side, made, STATES["a container"])
    side.until(f"/v1/snapshots/{made}", lambda seen: seen.get("status", {}).get("state") != "Creating", 5)
    for name, key in (*keys.items(), ("an unknown key", "nope")):
        side.get(f"/v1/snapshots/{made}", f"{name}: get", key=key)
        side.get("/v1/snapshots?sandboxId=sb-a", f"{name}: list", key=key)
    created(side, {"image": DROP, "snapshotId": made}, name="b: restore from a's snapshot", key=keys["b"])
    side.delete(f"/v1/snapshots/{made}", "b: delete a's snapshot", key=keys["b"])
    side.delete(f"/v1/snapshots/{made}", "a: delete its snapshot", key=keys["a"])
