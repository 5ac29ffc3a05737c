#!/usr/bin/env python3
"""The differential run on Kubernetes: the Python server and the gateway answer the same requests, each with a namespace of
its own on the same test API server (tests/kubernetes/serve.rs), and what they write there is compared as well.

Prints `N compared, N equal, N listed differences` and ends non-zero if there is a difference that differences.toml does
not list, or an entry there for Kubernetes that nothing needed."""

import argparse
import shutil
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

import backend  # noqa: E402
import differences  # noqa: E402
from cluster import Cluster, ClusterSide  # noqa: E402
from compare import Result, compare  # noqa: E402
from kube import AREAS, CONFIGS, TENANTS, tenants_file, whose  # noqa: E402
from servers import Server  # noqa: E402


def options():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", type=Path, default=ROOT / "target/debug/opensandbox-gateway")
    parser.add_argument("--peer", type=Path, default=ROOT / "target/peer/bin/opensandbox-server")
    parser.add_argument("--area", action="append", choices=sorted(AREAS), help="only this area; may be repeated")
    parser.add_argument("--usage", action="store_true", help="print how often each rule was used")
    return parser.parse_args()


def main():
    """Runs everything; returns the exit code."""
    asked = options()
    chosen = asked.area or sorted(AREAS)
    rules, result, faults = differences.rules("kubernetes"), Result(), []
    work = ROOT / "target/parity-kubernetes"
    shutil.rmtree(work, ignore_errors=True)
    with Cluster() as cluster, backend.Backend() as service:
        # The server looks for the class of its sandboxes when it starts.
        cluster.call("POST", "/apis/node.k8s.io/v1/runtimeclasses", {"metadata": {"name": "sandboxed"}, "handler": "runsc"})
        run(chosen, lambda name: start(name, asked, work, cluster), cluster, service, rules, result, faults)
    faults += differences.unused(rules, "kubernetes") if not asked.area else []
    if asked.usage:
        for rule in rules:
            print(f"{rule.used:5} {rule.entry['what']}: {rule.when}")
    for text in result.unlisted + faults:
        print(text, file=sys.stderr)
    print(f"{result.compared} compared, {result.equal} equal, {result.listed} listed differences")
    if result.unlisted:
        print(f"{len(result.unlisted)} unlisted differences", file=sys.stderr)
    return 1 if result.unlisted or faults else 0


def start(name, asked, work, cluster):
    """Starts both servers of a configuration, each for its own namespace."""
    both = []
    for kind, program in (("python", asked.peer), ("gateway", asked.gateway)):
        namespace = f"{kind}-{name}"
        cluster.tell(f"namespace {namespace}")
        text = CONFIGS[name].replace("@KUBECONFIG@", cluster.kubeconfig).replace("@NAMESPACE@", namespace)
        if kind == "gateway":
            # The pods of this cluster are the test's own servers.
            text = text.replace("[kubernetes]\n", '[kubernetes]\npod_networks = ["0.0.0.0/0", "::/0"]\n')
        text = text.replace("@TENANTS@", whose.config(kind)).replace("@HERE@", str(HERE / "kube"))
        place = work / f"{name}-{kind}"
        place.mkdir(parents=True)
        # On Kubernetes no server has ports of its own.
        server = Server(kind, [str(program)], text, place, (0, 0))
        if name in ("tenants", "service"):
            for tenant in sorted({place for place, _ in TENANTS.values()}):
                cluster.tell(f"namespace {namespace}-{tenant}")
        if name == "tenants":
            (server.home / ".opensandbox").mkdir()
            (server.home / ".opensandbox/tenants.toml").write_text(tenants_file(namespace))
        both.append(server.start())
    return both


def run(chosen, started, cluster, service, rules, result, faults):
    """Runs the areas; those of one configuration one after the other, and the two servers at the same time. Servers run only
    while it is their configuration's turn: many that start at once keep each other from it."""
    lock = threading.Lock()

    def one(config):
        servers = started(config)
        try:
            for server in servers:
                server.wait(180)
            for name in (name for name in chosen if AREAS[name].config == config):
                area(name, config, servers)
        finally:
            for server in servers:
                server.stop()

    def area(name, config, servers):
        began = time.time()
        sides = [ClusterSide(server, name, cluster, f"{server.kind}-{config}") for server in servers]
        with ThreadPoolExecutor(2) as both:
            troubles = list(both.map(lambda side: walk(AREAS[name], side, service), sides))
        with lock:
            faults.extend(trouble for trouble in troubles if trouble)
            compare(name, sides, rules, result)
            print(f"{name}: {len(sides[0].records)} in {time.time() - began:.1f} s", flush=True)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(one, sorted({AREAS[name].config for name in chosen})))


def walk(area, side, service):
    """Runs an area against one server; returns what went wrong in the area itself."""
    try:
        side.backend = service.port
        area(side)
        return None
    except Exception:
        return f"{side.area} against {side.server.kind}: {traceback.format_exc()}"
    finally:
        side.clean()


if __name__ == "__main__":
    sys.exit(main())
