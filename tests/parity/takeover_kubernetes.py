#!/usr/bin/env python3
"""Take-over on Kubernetes: one server makes sandboxes of each kind and stops; the other one, with the same file, templates and
HOME, carries on; then the first one again. Both ways round, on the test API server with its operator. Prints `N passed, N failed`;
what is still in the cluster at the end is a failure."""

import argparse
import re
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from cluster import KINDS, LEAVINGS, Cluster  # noqa: E402
from kube import CONFIGS  # noqa: E402
from servers import KEY, Server  # noqa: E402
from side import DROP  # noqa: E402
from takeover import Told, Turn, compare  # noqa: E402

ADDRESS = re.compile(r"^(127\.0\.0\.1|[0-9a-z-]+\.[0-9a-z-]+\.svc\.cluster\.local)(?=:)")
"""Of a pod, or of the service in front of it."""

POLICY = {"defaultAction": "deny", "egress": [{"action": "allow", "target": "a.example"}]}
CLAIM = {"name": "p", "mountPath": "/p", "pvc": {"claimName": "claim-@", "deleteOnSandboxTermination": True}}

KINDS_MADE = {
    "plain": {"extensions": {"opensandbox.extensions.x": "y", "access.renew.extend.seconds": "600"}},
    "manual": {"timeout": None},
    "renewed": {},
    "patched": {"platform": {"os": "linux", "arch": "amd64"}},
    "paused": {},
    "deleted": {"image": {"uri": "reg.example/py:1", "auth": {"username": "u", "password": "p"}}, "volumes": [CLAIM]},
    "kept": {"image": {"uri": "reg.example/py:1", "auth": {"username": "u", "password": "p"}}, "volumes": [CLAIM]},
    "policed": {"networkPolicy": POLICY, "credentialProxy": {"enabled": True}},
}
"""Name to the request's fields; `@` in the name of a claim is the sandbox's."""

POOLED = {"pooled": {"extensions": {"poolRef": "*"}, "image": DROP, "entrypoint": DROP, "resourceLimits": DROP}}
"""Of BatchSandboxes alone."""


class KubeTurn(Turn):
    """One server while it is its turn."""

    def __init__(self, kind, programs, home, work, config):
        work.mkdir(parents=True)
        self.kind = kind
        self.server = Server(kind, programs[kind], config, work, (0, 0), home=home, key=KEY)

    def until(self, path, is_so, seconds=10):
        """Asks until the answer is so; returns the last one."""
        end = time.time() + seconds
        while True:
            answer = self.ask("GET", path)
            if is_so(answer) or time.time() > end:
                return answer
            time.sleep(0.05)

    def state(self, made, state):
        """Whether a sandbox comes to this state."""
        shown = lambda answer: answer[0] == 200 and answer[1]["status"]["state"] == state  # noqa: E731
        return shown(self.until(f"/v1/sandboxes/{made}", shown))

    def everything(self, ids):
        """What it says of each sandbox, of its endpoints, and in the list."""
        seen = self.views(ids)
        for name, made in ids.items():
            for port in (8080, 18080):
                status, shown = self.ask("GET", f"/v1/sandboxes/{made}/endpoints/{port}")
                # An agent-sandbox's service and its pod's address are the same to a client.
                place = ADDRESS.sub("<pod>", shown.get("endpoint", ""))
                seen[f"{name}: {port}"] = status, shown | {"endpoint": place}
        listed = self.ask("GET", "/v1/sandboxes?pageSize=200")[1]["items"]
        return seen | {"list": sorted(listed, key=lambda item: item["id"])}


def hand_over(told, programs, kinds, cluster, name):
    """The first server makes, the second changes, the first one again takes what the second left."""
    way = f"{name}, {' to '.join(kinds)}"
    work = ROOT / "target/takeover-kubernetes" / way.replace(", ", "-").replace(" ", "-")
    namespace = f"{name}-of-{kinds[0]}"
    cluster.tell(f"namespace {namespace}")
    config = CONFIGS[name].replace("@KUBECONFIG@", cluster.kubeconfig).replace("@NAMESPACE@", namespace)
    # The pods of this cluster are on this machine. The Python server takes no notice of that.
    config = config.replace("@HERE@", str(HERE / "kube")).replace("[kubernetes]\n", '[kubernetes]\npod_networks = ["127.0.0.0/8"]\n')
    turns = [KubeTurn(kind, programs, work / "home", work / str(index), config) for index, kind in enumerate((*kinds, kinds[0]))]
    is_batch = "agent" not in name
    with turns[0] as first:
        rows = KINDS_MADE | (POOLED if is_batch else {})
        with ThreadPoolExecutor(4) as pool:
            ids = dict(zip(rows, pool.map(lambda row: first.make(metadata={"of": row[0]}, **claimed(*row)), rows.items())))
        told.check(f"{way}: renew", first.renew(ids["renewed"], "2090-01-01T00:00:00.123456Z") == 200)
        told.check(f"{way}: patch", first.patch(ids["patched"], {"of": None, "new": "x"}) == 200)
        told.check(f"{way}: pause", first.ask("POST", f"/v1/sandboxes/{ids['paused']}/pause")[0] == 202)
        told.check(f"{way}: paused", first.state(ids["paused"], "Paused"))
        snapshot = saved(told, way, first, ids["plain"]) if is_batch else None
        seen = first.everything(ids)
    with turns[1] as second:
        compare(told, f"{way}: as the first said", seen, second.everything(ids))
        if snapshot:
            told.check(f"{way}: the snapshot", second.ask("GET", f"/v1/snapshots/{snapshot[0]}") == snapshot[1], snapshot)
        change(told, way, second, ids)
        if snapshot:
            ids["restored"] = second.make(image=DROP, snapshotId=snapshot[0], metadata={"of": "restored"})
        ids["second's"] = second.make(metadata={"of": "second"}, **claimed("second", KINDS_MADE["kept"]))
        seen = second.everything(ids)
    with turns[2] as first:
        compare(told, f"{way} and back", seen, first.everything(ids))
        told.check(f"{way} and back: renew", first.renew(ids["second's"], "2091-01-01T00:00:00Z") == 200)
        told.check(f"{way} and back: patch", first.patch(ids["second's"], {"of": None}) == 200)
        for made in ids.values():
            answer = first.ask("DELETE", f"/v1/sandboxes/{made}")
            told.check(f"{way} and back: delete", answer[0] == 204, answer)
        if snapshot:
            told.check(f"{way} and back: delete the snapshot", first.ask("DELETE", f"/v1/snapshots/{snapshot[0]}")[0] == 204)
    told.check(f"{way} and back: nothing is left", not left(cluster, namespace), left(cluster, namespace))


def claimed(name, fields):
    """The fields with a claim of the sandbox's own."""
    if "volumes" not in fields:
        return fields
    pvc = {**CLAIM["pvc"], "claimName": CLAIM["pvc"]["claimName"].replace("@", name)}
    return {**fields, "volumes": [{**CLAIM, "pvc": pvc}]}


def saved(told, way, first, source):
    """A snapshot that is ready: its id and what is said of it."""
    status, made = first.ask("POST", f"/v1/sandboxes/{source}/snapshots", {"name": "s"})
    told.check(f"{way}: snapshot", status == 202, made)
    path = f"/v1/snapshots/{made['id']}"
    shown = first.until(path, lambda answer: answer[1].get("status", {}).get("state") != "Creating")
    told.check(f"{way}: the snapshot is ready", shown[1]["status"]["state"] == "Ready", shown)
    return made["id"], shown


def change(told, way, second, ids):
    """What the second server does with the first one's sandboxes."""
    for step, answer, wanted in (
        ("renew", second.renew(ids["plain"], "2092-01-01T00:00:00Z"), 200),
        ("renew again", second.renew(ids["renewed"], "2093-01-01T00:00:00.5Z"), 200),
        ("renew a manual one", second.renew(ids["manual"], "2092-01-01T00:00:00Z"), 409),
        ("patch", second.patch(ids["plain"], {"of": "2"}), 200),
        ("patch again", second.patch(ids["patched"], {"new": None, "c": "4"}), 200),
        ("resume", second.ask("POST", f"/v1/sandboxes/{ids['paused']}/resume")[0], 202),
        ("pause", second.ask("POST", f"/v1/sandboxes/{ids['renewed']}/pause")[0], 202),
        ("inspect", second.ask("GET", f"/v1/sandboxes/{ids['plain']}/diagnostics/inspect")[0], 200),
        ("delete", second.ask("DELETE", f"/v1/sandboxes/{ids['deleted']}")[0], 204),
    ):
        told.check(f"{way}: {step}", answer == wanted, answer)
    told.check(f"{way}: resumed", second.state(ids["paused"], "Running"))
    told.check(f"{way}: paused by the second", second.state(ids["renewed"], "Paused"))
    gone = second.ask("GET", f"/v1/sandboxes/{ids.pop('deleted')}")
    told.check(f"{way}: what was deleted is gone", gone[0] == 404, gone)
    found = second.ask("GET", "/v1/sandboxes?metadata=c%3D4")[1]["items"]
    told.check(f"{way}: found by patched metadata", [item["id"] for item in found] == [ids["patched"]], found)


def left(cluster, namespace, seconds=5):
    """What is in a namespace; the cluster collects for a moment."""
    end = time.time() + seconds
    while True:
        kinds = (*LEAVINGS, "Pod", "SandboxSnapshot")
        items = {kind: cluster.call("GET", KINDS[kind].format(namespace))["items"] for kind in kinds}
        found = [f"{kind} {item['metadata']['name']}" for kind in kinds for item in items[kind]]
        if not found or time.time() > end:
            return found
        time.sleep(0.05)


def main():
    """Both ways with each configuration; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", type=Path, default=ROOT / "target/debug/opensandbox-gateway")
    parser.add_argument("--peer", type=Path, default=ROOT / "target/peer/bin/opensandbox-server")
    asked = parser.parse_args()
    programs = {"python": [str(asked.peer)], "gateway": [str(asked.gateway)]}
    shutil.rmtree(ROOT / "target/takeover-kubernetes", ignore_errors=True)
    told = Told()
    ways = [(kinds, name) for name in ("templated", "templated-agent") for kinds in (("python", "gateway"), ("gateway", "python"))]
    with Cluster(pods="127.0.0.1") as cluster, ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda way: hand_over(told, programs, way[0], cluster, way[1]), ways))
    print(f"{told.passed} passed, {told.failed} failed")
    return 1 if told.failed else 0


if __name__ == "__main__":
    sys.exit(main())
