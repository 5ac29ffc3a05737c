"""Creations on a cluster: whoever asks for one plays the operator for it, as its row says, and compares all that was written."""

import base64
from concurrent.futures import ThreadPoolExecutor, wait

from cluster import COUNTS, pod
from side import KEEP, brief, parsed, sandbox

AS_SENT = {"batchsandboxes": "BatchSandbox", "sandboxes": "Sandbox"}
"""The kinds of sandboxes by their names in paths."""


def status(phase=None, **more):
    """A status of a BatchSandbox; no phase is none."""
    return {**COUNTS, "replicas": 1, **({"phase": phase} if phase else {}), **more}


def told(side, made, change, annotations=None):
    """Writes a status as the operator does, and then annotations: an address without a status would say that it runs."""
    path = side.path(made["kind"], made["metadata"]["name"])
    media = "application/merge-patch+json"
    side.cluster.call("PATCH", f"{path}/status", {"status": change}, media)
    if annotations:
        side.cluster.call("PATCH", path, {"metadata": {"annotations": annotations}}, media)


def ready(side, made):
    """The sandbox comes to run."""
    if made["kind"] == "BatchSandbox":
        running = status("Succeed", allocated=1, ready=1)
        told(side, made, running, {"sandbox.opensandbox.io/endpoints": '["127.0.0.1"]'})
    else:
        told(side, made, {"podIPs": ["127.0.0.1"], "conditions": [condition("Ready", reason="DependenciesReady")]})


def silent(_side, _made):
    """Nobody takes notice of it."""


def gone(side, made):
    """Somebody deletes it."""
    side.cluster.call("DELETE", side.path(made["kind"], made["metadata"]["name"]))


def with_status(change, annotations=None):
    """The operator writes this."""
    return lambda side, made: told(side, made, change, annotations)


def with_pod(**change):
    """The sandbox's pod is there in this state, and the operator has no more to say."""

    def play(side, made):
        id = made["metadata"]["labels"]["opensandbox.io/id"]
        template = made["spec"].get("template") or made["spec"].get("podTemplate")
        name = f"{made['metadata']['name']}-0"
        labels = {"batch-sandbox.sandbox.opensandbox.io/name": made["metadata"]["name"]}
        side.put(pod(name, id, metadata={"labels": labels}, spec=template["spec"], **change))

    return play


def condition(kind, status="True", **more):
    """A condition."""
    return {"type": kind, "status": status, "lastTransitionTime": "2026-11-23T02:00:00Z", "message": "m", **more}


def created(side, fields, play=ready, name=None, *, path="/v1/sandboxes", key=KEEP, kept=False, whole=None):
    """Sends a creation; `play` is for the object that it makes. Compares the answer and what was written, and unless it is `kept`
    shows the sandbox, deletes it and compares what is left. `whole` is the request's body instead of a whole one with `fields`.
    Returns the id, or None."""
    name = name or f"create {brief(fields)}"
    body = sandbox(**fields) if whole is None else whole
    side.calls()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(side.post, path, body, name, key=key)
        played = False
        while not asked.done():
            played = played or attended(side, play)
            wait([asked], 0.02)
        answer = asked.result()
    side.tried += 1
    written = side.calls()
    learn(side, written)
    side.note(f"objects of {name}", as_objects(written))
    made = parsed(answer).get("id") if answer.status == 202 else None
    if made and not kept:
        # The Python server answers from a cache, which may be behind the answer to the creation on a busy machine.
        if key is KEEP and parsed(answer)["status"]["state"] == "Running":
            side.until(f"/v1/sandboxes/{made}", lambda seen: seen.get("status", {}).get("state") == "Running", seconds=5)
        side.get(f"/v1/sandboxes/{made}", f"get: {name}", key=key)
        finished(side, made, name, key)
    elif not made:
        side.note(f"left of {name}", side.left())
    return made


def finished(side, made, name, key=KEEP):
    """Deletes a sandbox and compares what is left."""
    side.calls()
    side.delete(f"/v1/sandboxes/{made}", f"delete: {name}", key=key)
    side.note(f"objects of delete: {name}", as_objects(side.calls()))
    side.note(f"left of {name}", side.left())


def attended(side, play):
    """Looks for an object that was not there before, and plays the operator for it; whether there was one."""
    for kind in AS_SENT.values():
        for made in side.listed(kind):
            if made["metadata"]["uid"] not in side.attended:
                side.attended.add(made["metadata"]["uid"])
                play(side, {**made, "kind": kind})
                return True
    return False


def learn(side, written):
    """Names the id and the tokens of what was written."""
    for call in written:
        metadata = (call["body"] or {}).get("metadata", {})
        if call["method"] != "POST" or call["path"].rsplit("/", 1)[1] not in AS_SENT:
            continue
        id = metadata["labels"]["opensandbox.io/id"]
        # Whether an agent-sandbox's name begins so is the chance of its id's first letter.
        side.names.learn(f"sandbox-{id}", f"<id {side.tried}>")
        side.names.learn(id, f"<id {side.tried}>")
        for key, value in (metadata.get("annotations") or {}).items():
            if key in ("opensandbox.io/secure-access-token", "opensandbox.io/egress-auth-token"):
                side.names.learn(value, f"<{key.rsplit('/')[1]} {side.tried}, {len(value)} letters>")


def as_objects(written):
    """The writes by what they are of, such as `POST secrets`, each in their order."""
    found = {}
    for call in written:
        plural = call["path"].split("/namespaces/")[1].split("/")[1]
        body = call["body"]
        if plural == "secrets" and isinstance(body, dict):
            data = {key: base64.b64decode(value).decode() for key, value in (body.get("data") or {}).items()}
            body = {**body, "data": data}
        found.setdefault(f"{call['method']} {plural}", []).append({"query": call["query"], "body": body})
    return found

