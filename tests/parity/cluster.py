"""The test API server as a process, its objects, and what the two servers asked of it."""

import copy
import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from side import Side

ROOT = Path(__file__).resolve().parents[2]

KINDS = {
    "BatchSandbox": "/apis/sandbox.opensandbox.io/v1alpha1/namespaces/{}/batchsandboxes",
    "Sandbox": "/apis/agents.x-k8s.io/v1beta1/namespaces/{}/sandboxes",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Event": "/api/v1/namespaces/{}/events",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Pool": "/apis/sandbox.opensandbox.io/v1alpha1/namespaces/{}/pools",
    "SandboxSnapshot": "/apis/sandbox.opensandbox.io/v1alpha1/namespaces/{}/sandboxsnapshots",
}
"""Kind to the path of its objects."""

LEAVINGS = ("BatchSandbox", "Sandbox", "Secret", "PersistentVolumeClaim")
"""What a creation writes."""

AGENT = "parity"
"""The User-Agent of what the corpus itself asks of the API server."""


class Cluster:
    """The API server, until the `with` block ends; with an operator if its pods have an address."""

    def __init__(self, pods=None):
        self.env = os.environ | ({"KUBE_OPERATOR": pods} if pods else {})

    def __enter__(self):
        command = [program(), "--ignored", "--exact", "serve::serve", "--nocapture"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.env)
        self.lock = threading.RLock()
        self.written = {}
        # A test's name stands before its first line.
        found = {}
        while len(found) < 2:
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError(f"{command[0]} ended with {self.process.wait()} before it served")
            words = line.split()
            for name in ("url", "kubeconfig"):
                if name in words:
                    found[name] = words[words.index(name) + 1]
        self.url, self.kubeconfig = found["url"], found["kubeconfig"]
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def tell(self, command):
        """Sends a command and returns the lines of its answer."""
        with self.lock:
            self.process.stdin.write(f"{command}\n")
            self.process.stdin.flush()
            return list(iter(lambda: self.process.stdout.readline().rstrip("\n"), ""))

    def writes(self, namespace, seen):
        """What was written into a namespace so far, but by the corpus and but for the first `seen`."""
        with self.lock:
            # The test program tells now and then that it still runs.
            calls = [json.loads(line) for line in self.tell("requests") if line.startswith("{")]
            for call in calls:
                if call["ua"] != AGENT and call["method"] != "GET":
                    _, _, place = call["path"].partition("/namespaces/")
                    self.written.setdefault(place.split("/")[0], []).append(call)
            return self.written.get(namespace, [])[seen:]

    def call(self, method, path, value=None, media="application/json"):
        """One request of the corpus itself. Returns the answer's JSON, or None for a 404."""
        body = None if value is None else json.dumps(value).encode()
        headers = {"Content-Type": media, "User-Agent": AGENT}
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode()}") from error


def program():
    """The test program that has the API server in it; builds it first."""
    if given := os.environ.get("PARITY_KUBE"):
        return given
    command = ["cargo", "test", "--locked", "--test", "kubernetes", "--no-run", "--message-format=json", "--quiet"]
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    # The gateway, which is built with it, is an executable too.
    tests = [one for one in found if one.get("executable") and one["target"]["name"] == "kubernetes"]
    return tests[-1]["executable"]


class ClusterSide(Side):
    """One server as one area sees it, with its own namespace of the cluster."""

    def __init__(self, server, area, cluster, namespace):
        super().__init__(server, area)
        self.cluster, self.namespace = cluster, namespace
        self.names.learn(namespace, "<namespace>")
        self.mine, self.attended = [], set()
        self.seen = {}
        self.calls()

    def path(self, kind, name=""):
        """The path of a kind's objects in the side's namespace, or of one of them."""
        return KINDS[kind].format(self.namespace) + (f"/{name}" if name else "")

    def put(self, thing):
        """Creates an object with its status; one that has `deleting` is marked as being deleted."""
        thing = copy.deepcopy(thing)
        kind, name = thing["kind"], thing["metadata"]["name"]
        deleting = thing.pop("deleting", False)
        if deleting:
            thing["metadata"].setdefault("finalizers", []).append("parity.example/hold")
        made = self.cluster.call("POST", self.path(kind), thing)
        self.attended.add(made["metadata"]["uid"])
        self.mine.append((kind, name, self.path(kind, name)))
        if status := thing.get("status"):
            patch = {"status": status}
            self.cluster.call("PATCH", self.path(kind, name) + "/status", patch, "application/merge-patch+json")
        if deleting:
            self.cluster.call("DELETE", self.path(kind, name))
        return made

    def object(self, kind, name):
        """An object as it is, without what the API server adds; None if it is gone."""
        found = self.cluster.call("GET", self.path(kind, name))
        if found:
            for key in ("uid", "resourceVersion", "managedFields", "generation", "creationTimestamp", "deletionTimestamp"):
                found["metadata"].pop(key, None)
        return found

    def listed(self, kind):
        """The objects of a kind in the side's namespace."""
        return self.cluster.call("GET", self.path(kind))["items"]

    def left(self, seconds=2.0):
        """What stays of sandboxes in the namespace, but for what the area itself put there: the cluster collects for a moment.
        It is taken away then."""
        own = {name for _, name, _ in self.mine}
        end = time.time() + seconds
        while True:
            found = [(kind, item["metadata"]["name"]) for kind in LEAVINGS for item in self.listed(kind)]
            left = sorted((kind, name) for kind, name in found if name not in own)
            if not left or time.time() > end:
                break
            time.sleep(0.02)
        for kind, name in left:
            self.cluster.call("DELETE", self.path(kind, name) + "?gracePeriodSeconds=0")
        return [f"{kind} {name}" for kind, name in left]

    def settle(self, kind="BatchSandbox", **labels):
        """Waits until the server has seen all that was put so far: a sandbox comes and goes behind it."""
        mark = "zz-mark"
        shown = "/v1/sandboxes?pageSize=200&metadata=mark%3Dyes"
        make = batch if kind == "BatchSandbox" else agent
        self.put(make(mark, metadata={"labels": {"opensandbox.io/id": mark, "mark": "yes", **labels}}))
        self.until(shown, lambda seen: seen.get("items"))
        self.cluster.call("DELETE", self.path(kind, mark))
        self.until(shown, lambda seen: seen.get("items") == [])
        self.calls()

    def fault(self, method, text, status, times=1):
        """Refuses the side's next requests with this text in their target. `text` goes on behind the namespace."""
        self.cluster.tell(f"fault {method} /namespaces/{self.namespace}/{text} {status} {times}")

    def heal(self, text):
        """Takes the faults of this text back: a server that did not ask for it leaves them."""
        self.cluster.tell(f"heal /namespaces/{self.namespace}/{text}")

    def calls(self):
        """The writes that the server made in its namespace since this was last asked for."""
        since = self.cluster.writes(self.namespace, self.seen.get(self.namespace, 0))
        self.seen[self.namespace] = self.seen.get(self.namespace, 0) + len(since)
        return [{key: call[key] for key in ("method", "path", "query", "ct", "body")} for call in since]

    def writing(self, method, path, value=None, **more):
        """A request, and the writes that the server made for it."""
        self.calls()
        answer = self.ask(None, method, path, **({} if value is None else {"json_body": value}), **more)
        self.note(f"calls of {self.records[-1].name}", self.calls())
        return answer

    def clean(self):
        """Deletes what the area left."""
        for _, _, path in self.mine:
            patch = {"metadata": {"finalizers": None}}
            self.cluster.call("PATCH", path, patch, "application/merge-patch+json")
            self.cluster.call("DELETE", f"{path}?gracePeriodSeconds=0")
        mine = [name for kind, name, _ in self.mine if kind in ("BatchSandbox", "Sandbox")]
        # The next area of this server begins with an empty namespace.
        self.until("/v1/sandboxes?pageSize=200", lambda seen: not any(i["id"] in mine for i in seen.get("items", [])))


def merged(base, change):
    """`change` over `base`, by RFC 7396."""
    if not isinstance(change, dict) or not isinstance(base, dict):
        return change
    result = dict(base)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value) if isinstance(value, dict) else value
    return result


COUNTS = {
    key: 0
    for key in ("replicas", "allocated", "ready", "taskRunning", "taskSucceed", "taskFailed", "taskPending", "taskUnknown")
}


def pod_spec(command=("/opt/opensandbox/bootstrap.sh", "python", "-c", "x")):
    """The specification of a sandbox's pod."""
    return {"containers": [{"name": "sandbox", "image": "reg.example/py:1", "command": list(command)}]}


def batch(name, **change):
    """A BatchSandbox that runs, with this put over it."""
    return merged(
        {
            "apiVersion": "sandbox.opensandbox.io/v1alpha1",
            "kind": "BatchSandbox",
            "metadata": {
                "name": name,
                "labels": {"opensandbox.io/id": name},
                "annotations": {"sandbox.opensandbox.io/endpoints": '["127.0.0.1"]'},
            },
            "spec": {
                "replicas": 1,
                "expireTime": "2099-11-26T13:18:58.511753+00:00",
                "template": {"spec": pod_spec()},
            },
            "status": {**COUNTS, "phase": "Succeed", "replicas": 1, "allocated": 1, "ready": 1},
        },
        change,
    )


def agent(name, **change):
    """A Sandbox of the agent-sandbox operator that runs, with this put over it."""
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "DependenciesReady",
        "message": "Pod is Ready",
        "lastTransitionTime": "2026-11-23T02:00:00Z",
    }
    return merged(
        {
            "apiVersion": "agents.x-k8s.io/v1beta1",
            "kind": "Sandbox",
            "metadata": {"name": name, "labels": {"opensandbox.io/id": name}},
            "spec": {
                "operatingMode": "Running",
                "shutdownTime": "2099-11-26T13:18:58.511753+00:00",
                "podTemplate": {"spec": pod_spec()},
            },
            "status": {
                "podIPs": ["127.0.0.1"],
                "serviceFQDN": f"{name}.svc.example",
                "selector": f"app={name}",
                "conditions": [condition],
            },
        },
        change,
    )


def pod(name, sandbox, **change):
    """A pod of a sandbox."""
    return merged(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"opensandbox.io/id": sandbox, "app": sandbox}},
            "spec": pod_spec(),
        },
        change,
    )


def claim(name, sandbox, managed=True):
    """A volume claim, of the server's or not."""
    labels = {"opensandbox.io/id": sandbox}
    if managed:
        labels["opensandbox.io/volume-managed-by"] = "server"
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "labels": labels},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def event(name, of, **change):
    """An event of a pod."""
    return merged(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name},
            "involvedObject": {"kind": "Pod", "name": of},
            "reason": "Started",
            "message": "Started container sandbox",
            "type": "Normal",
            "count": 1,
            "source": {"component": "kubelet", "host": "node1"},
            "firstTimestamp": "2026-01-01T00:00:00Z",
            "lastTimestamp": "2026-01-01T00:00:01Z",
        },
        change,
    )


def pause(seconds):
    """Lets the clock of creation times go on."""
    time.sleep(seconds)
