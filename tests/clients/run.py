#!/usr/bin/env python3
"""The official clients walk through what they can do, against the gateway (or the Python server, to prove the walks); those whose
name begins with `dev` against the gateway's `dev`, which needs no engine, and those that begin with `kubernetes` on the test API
server.

Prints a line for each step that failed, then `N passed, N failed`; ends non-zero if a step failed or if something was
left behind on the engine."""

import argparse
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests/parity"))

import engine  # noqa: E402
from cluster import KINDS, LEAVINGS, Cluster  # noqa: E402
from dev import Dev  # noqa: E402
from execd import Execd  # noqa: E402
from servers import KEY, Server  # noqa: E402

CONFIG = """
[server]
host = "127.0.0.1"
port = @PORT@
api_key = "@KEY@"
[runtime]
type = "docker"
execd_image = "osb-test/execd:full"
[docker]
network_mode = "bridge"
expiry = "own"
port_range_min = @MIN@
port_range_max = @MAX@
[storage]
allowed_host_paths = ["{shared}"]
"""

CLUSTER_CONFIG = """
[server]
host = "127.0.0.1"
port = @PORT@
api_key = "@KEY@"
[runtime]
type = "kubernetes"
execd_image = "osb-test/execd:full"
[kubernetes]
kubeconfig_path = "{kubeconfig}"
namespace = "clients"
pod_networks = ["127.0.0.0/8"]
sandbox_create_poll_interval_seconds = 0.1
[storage]
allowed_host_paths = ["{shared}"]
"""


def options():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--server",
        type=Path,
        default=ROOT / "target/debug/opensandbox-gateway",
        help="the program to walk against: the gateway's, or opensandbox-server",
    )
    parser.add_argument(
        "--python",
        type=Path,
        default=ROOT / "target/clients/venv/bin/python",
        help="a Python with requirements.txt installed",
    )
    parser.add_argument(
        "--node-path", type=Path, default=ROOT / "target/clients", help="where npm installed package.json"
    )
    parser.add_argument("--walk", action="append", help="only walks whose name has this in it; may be repeated")
    parser.add_argument(
        "--shared-engine",
        action="store_true",
        help="others use the engine as well: do not look for what was left behind",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="print the steps that passed as well")
    return parser.parse_args()


DEV, CLUSTER = "dev", "kubernetes"


def walks(asked):
    """Every walk: its name and its command. The proxied ones reach execd through the server."""
    python, script = str(asked.python), str(asked.node_path / "walk.mjs")
    dev_script = str(asked.node_path / "dev_walk.mjs")
    found = {
        "python-async": [python, "python_walk.py", "async"],
        "python-sync": [python, "python_walk.py", "sync"],
        "python-async-proxied": [python, "python_walk.py", "async", "proxied"],
        "osb": [python, "cli_walk.py"],
        "javascript": ["node", script],
        "javascript-proxied": ["node", script, "proxied"],
        "kubernetes-python-async": [python, "python_walk.py", "async"],
        "kubernetes-python-sync-proxied": [python, "python_walk.py", "sync", "proxied"],
        "kubernetes-osb": [python, "cli_walk.py"],
        "kubernetes-javascript": ["node", script],
        "kubernetes-javascript-proxied": ["node", script, "proxied"],
    }
    if asked.server.name == "opensandbox-gateway":
        found |= {
            "dev-python-async": [python, "dev_walk.py", "async"],
            "dev-python-sync": [python, "dev_walk.py", "sync"],
            "dev-python-sync-proxied": [python, "dev_walk.py", "sync", "proxied"],
            "dev-osb": [python, "dev_cli_walk.py"],
            "dev-logs-python": [python, "dev_logs.py"],
            "dev-logs-javascript": ["node", str(asked.node_path / "dev_logs.mjs"), str(ROOT / "docs"), str(asked.node_path)],
            "dev-javascript": ["node", dev_script],
            "dev-javascript-proxied": ["node", dev_script, "proxied"],
        }
    return {
        name: command for name, command in found.items() if not asked.walk or any(part in name for part in asked.walk)
    }


def main():
    """Runs all walks, those of each kind against one server; returns the exit code."""
    asked = options()
    work = ROOT / "target/clients/run"
    shutil.rmtree(work, ignore_errors=True)
    shared = work / "shared"
    shared.mkdir(parents=True)
    (shared / "file").write_text("shared\n")
    # Node looks for packages beside the script, and the source tree has none.
    for script in ("walk.mjs", "dev_walk.mjs", "dev_logs.mjs"):
        shutil.copy(HERE / script, asked.node_path / script)
    found = walks(asked)
    on_dev = {name: command for name, command in found.items() if name.startswith(DEV)}
    on_cluster = {name: command for name, command in found.items() if name.startswith(CLUSTER)}
    on_engine = {name: command for name, command in found.items() if name not in on_dev | on_cluster}
    lines = []
    if on_engine:
        lines += walk_on_engine(asked, on_engine, work, shared)
    if on_dev:
        lines += walk_on_dev(asked, on_dev, work)
    if on_cluster:
        lines += walk_on_cluster(asked, on_cluster, work, shared)
    passed = sum(line.startswith("ok ") for line in lines)
    failed = sum(line.startswith("FAILED ") for line in lines)
    for line in lines:
        if asked.verbose or not line.startswith("ok "):
            print(line)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def walk_on_engine(asked, found, work, shared):
    """The walks of sandboxes on an engine; their lines."""
    before = engine.objects()
    server = Server("server", [str(asked.server)], CONFIG.format(shared=shared), work, (64000, 64999)).start().wait()
    env = os.environ | client_env(server.port, work, shared)
    try:
        lines = walk_all(found, env)
    finally:
        server.stop()
    return lines + [
        f"FAILED left on the engine: {kind} {name}" for kind, name in left_behind(before, asked.shared_engine)
    ]


def walk_on_cluster(asked, found, work, shared):
    """The walks of sandboxes on the test API server, whose operator gives pods this machine's address; their lines."""
    with Cluster(pods="127.0.0.1") as cluster, Execd():
        cluster.tell("namespace clients")
        config = CLUSTER_CONFIG.format(kubeconfig=cluster.kubeconfig, shared=shared)
        folder = work / "kubernetes"
        folder.mkdir()
        server = Server("server", [str(asked.server)], config, folder, (0, 0)).start().wait()
        env = os.environ | client_env(server.port, work, shared) | {"CLIENTS_RUNTIME": "kubernetes"}
        try:
            lines = walk_all(found, env)
        finally:
            server.stop()
        kinds = (*LEAVINGS, "Pod", "SandboxSnapshot")
        left = [f"{kind} {item['metadata']['name']}" for kind in kinds for item in items(cluster, kind)]
    return lines + [f"FAILED left in the cluster: {what}" for what in left]


def items(cluster, kind):
    """The objects of a kind."""
    return cluster.call("GET", KINDS[kind].format("clients"))["items"]


def client_env(port, home, shared):
    """The variables of the walks."""
    return {
        "OPEN_SANDBOX_DOMAIN": f"127.0.0.1:{port}",
        "OPEN_SANDBOX_API_KEY": KEY,
        "HOME": str(home),
        "CLIENTS_SHARED": str(shared),
    }


def walk_on_dev(asked, found, work):
    """The walks of sandboxes that are local processes; their lines."""
    dev = Dev(str(asked.server), work)
    try:
        env = os.environ | dev.wait() | {"HOME": str(work)}
        lines = walk_all(found, env)
    finally:
        ended = dev.stop()
    return lines + [f"FAILED the end of dev: {why}" for why in ended]


def walk_all(found, env):
    """Runs walks at the same time and returns their lines."""
    with ThreadPoolExecutor(3) as pool:
        return [line for walk in pool.map(lambda walk: walked(*walk, env), found.items()) for line in walk]


def walked(name, command, env):
    """Runs one walk and returns its lines."""
    done = subprocess.run(command, cwd=HERE, env=env, capture_output=True, text=True, timeout=240)
    lines = done.stdout.splitlines()
    if done.returncode:
        lines.append(f"FAILED {name}: ended with {done.returncode}: {done.stderr[-2000:]}")
    return lines


def left_behind(before, shared):
    """What is on the engine now and was not before."""
    if shared:
        return []
    time.sleep(0.5)
    return sorted(engine.objects() - before)


if __name__ == "__main__":
    sys.exit(main())
