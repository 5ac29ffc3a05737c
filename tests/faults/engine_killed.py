#!/usr/bin/env python3
"""Kills a Docker Engine under load and starts it again, with a gateway in front: nothing hangs, nothing leaks.

The engine is a real one of this test's own, beside the machine's: its socket, its data, its containerd. scripts/faults
starts this; it needs root.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

GATEWAY = Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "debug/opensandbox-gateway"
IMAGES = ["osb-test/busybox:1", "osb-test/execd:stub"]
#: What a gateway may answer while its engine is gone.
OUTAGE = {500, 503}
#: Longer than any call may take while the engine is gone, in seconds.
PATIENCE = 20


def until(what, holds, seconds=30):
    """Waits until `holds` gives something true, and gives that."""
    due = time.monotonic() + seconds
    while True:
        try:
            if found := holds():
                return found
        except OSError:
            pass
        if time.monotonic() > due:
            sys.exit(f"engine_killed: not within {seconds} s: {what}")
        time.sleep(0.05)


class Engine:
    """A dockerd without a bridge, which touches nothing of the machine's own."""

    def __init__(self, home):
        self.home, self.socket = home, home / "docker.sock"
        self.log = open(home / "dockerd.log", "ab")
        self.start()

    def start(self):
        (self.home / "docker.pid").unlink(missing_ok=True)
        arguments = ["--data-root", self.home / "data", "--exec-root", self.home / "exec", "--pidfile", self.home / "docker.pid",
                     "-H", f"unix://{self.socket}", "--bridge=none", "--iptables=false", "--storage-driver=vfs"]
        # In a network of its own: without a bridge it would take away the machine's docker0.
        self.process = subprocess.Popen(["unshare", "--net", "dockerd", *map(str, arguments)], stdout=self.log, stderr=self.log)
        until("the engine answers", lambda: self.docker("version", check=False).returncode == 0)

    def docker(self, *arguments, check=True, **options):
        command = ["docker", "-H", f"unix://{self.socket}", *arguments]
        return subprocess.run(command, check=check, capture_output=True, text=options.pop("text", True), **options)

    def load(self):
        saved = subprocess.run(["docker", "save", *IMAGES], check=True, capture_output=True).stdout
        self.docker("load", input=saved, text=False)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def containers(self):
        return self.docker("ps", "-aq").stdout.split()

    def end(self):
        self.process.terminate()
        self.process.wait(30)


class Gateway:
    def __init__(self, home, engine):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        config = home / "config.toml"
        config.write_text(f"""
[server]
host = "127.0.0.1"
port = {self.port}
api_key = "k"
[runtime]
type = "docker"
execd_image = "{IMAGES[1]}"
[docker]
network_mode = "host"
""")
        environment = {**os.environ, "HOME": str(home), "DOCKER_HOST": f"unix://{engine.socket}"}
        self.log = open(home / "gateway.log", "wb")
        self.process = subprocess.Popen([GATEWAY, "--config", config], env=environment, stdout=self.log, stderr=self.log)
        until("the gateway answers", lambda: self.ask("GET", "/health")[0] == 200)

    def ask(self, method, path, body=None, timeout=PATIENCE):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            text = json.dumps(body) if body is not None else None
            connection.request(method, path, text, {"OPEN-SANDBOX-API-KEY": "k", "Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None
        finally:
            connection.close()

    def create(self, script):
        body = {"image": {"uri": IMAGES[0]}, "resourceLimits": {}, "entrypoint": ["sh", "-c", script], "timeout": 600}
        return self.ask("POST", "/v1/sandboxes", body, timeout=90)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Follower(threading.Thread):
    """Follows a log, and notes how that ends: `whole`, or `broken`."""

    def __init__(self, gateway, sandbox):
        super().__init__(daemon=True)
        self.connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
        self.path, self.end = f"/v1/sandboxes/{sandbox}/logs?follow=true", None
        self.start()

    def run(self):
        self.connection.request("GET", self.path, headers={"OPEN-SANDBOX-API-KEY": "k"})
        answer = self.connection.getresponse()
        assert answer.status == 200, answer.status
        try:
            while answer.read1(65536):
                pass
            self.end = "whole"
        except (http.client.HTTPException, OSError):
            self.end = "broken"


class Load(threading.Thread):
    """Asks again and again; notes every status, and what took too long."""

    def __init__(self, gateway, ask):
        super().__init__(daemon=True)
        self.gateway, self.call, self.stopped = gateway, ask, threading.Event()
        self.statuses, self.slowest = {}, 0.0
        self.start()

    def run(self):
        while not self.stopped.is_set():
            begun = time.monotonic()
            try:
                status = self.call(self.gateway)
            except TimeoutError:
                status = "timeout"
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.statuses[status] = self.statuses.get(status, 0) + 1


def create_and_delete(gateway):
    status, created = gateway.create("sleep 600")
    if status != 202:
        return status
    return gateway.ask("DELETE", f"/v1/sandboxes/{created['id']}", timeout=90)[0]


def run(home):
    engine = Engine(home)
    try:
        engine.load()
        gateway = Gateway(home, engine)
        try:
            check(engine, gateway)
        finally:
            gateway.process.terminate()
            status = gateway.process.wait(60)
        assert status == 0, f"the gateway ends with {status}"
    finally:
        for container in engine.containers():
            engine.docker("rm", "-f", container, check=False)
        engine.end()


def check(engine, gateway):
    kept = [gateway.create("while :; do echo line; sleep 0.2; done")[1]["id"] for _ in range(3)]
    assert gateway.ask("GET", "/v1/sandboxes")[1]["pagination"]["totalItems"] == 3
    time.sleep(1)
    before = gateway.descriptors()
    followers = [Follower(gateway, sandbox) for sandbox in kept for _ in range(5)]
    loads = [
        Load(gateway, lambda gateway: gateway.ask("GET", f"/v1/sandboxes/{kept[0]}")[0]),
        Load(gateway, lambda gateway: gateway.ask("GET", "/v1/sandboxes")[0]),
        Load(gateway, create_and_delete),
        Load(gateway, create_and_delete),
    ]
    time.sleep(3)
    engine.kill()
    time.sleep(3)
    status, answer = gateway.ask("GET", f"/v1/sandboxes/{kept[0]}/logs")
    assert status == 503 and answer["code"], (status, answer)
    assert gateway.ask("GET", "/health")[0] == 200
    engine.start()
    until("the list is whole again", lambda: gateway.ask("GET", "/v1/sandboxes")[0] == 200)
    time.sleep(2)
    for load in loads:
        load.stopped.set()
    for load in loads:
        load.join(90)
        assert not load.is_alive(), "a request hangs"
        unexpected = set(load.statuses) - OUTAGE - {200, 202, 204, 404, 409}
        assert not unexpected, load.statuses
    for follower in followers:
        follower.join(10)
        assert follower.end == "broken", f"a log that the engine's death cut ended {follower.end}"
    settle(engine, gateway, before, kept)
    print("engine killed under load:", [load.statuses for load in loads], "slowest", max(load.slowest for load in loads))


def settle(engine, gateway, before, kept):
    """Everything works as before, and nothing of the outage remains."""
    status, created = gateway.create("echo again; sleep 600")
    assert status == 202, created
    connection = until("its output", lambda: logs(gateway, created["id"]))
    assert connection == b"again\n", connection
    listed = {sandbox["id"] for sandbox in gateway.ask("GET", "/v1/sandboxes?pageSize=200")[1]["items"]}
    assert listed >= {created["id"], *kept}, "sandboxes that were there are there"
    for sandbox in listed:
        assert gateway.ask("DELETE", f"/v1/sandboxes/{sandbox}", timeout=90)[0] == 204
    until("no container remains", lambda: not engine.containers())
    # But for the mark that the engine is this gateway's (docker.expiry).
    assert set(engine.docker("volume", "ls", "-q").stdout.split()) <= {"opensandbox-gateway-owner"}
    until(f"{before} descriptors as before", lambda: gateway.descriptors() <= before + 2)


def logs(gateway, sandbox):
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.request("GET", f"/v1/sandboxes/{sandbox}/logs", headers={"OPEN-SANDBOX-API-KEY": "k"})
    return connection.getresponse().read()


def in_a_home(prefix, run):
    """Runs a test in a folder of its own; shows the ends of the logs there if it fails, and leaves nothing mounted."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    home = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        run(home)
    except BaseException:
        for name in ("gateway.log", "dockerd.log"):
            if (home / name).exists():
                print(f"---- {name}", *(home / name).read_text(errors="replace").splitlines()[-40:], sep="\n", file=sys.stderr)
        raise
    finally:
        for mount in sorted((line.split()[1] for line in open("/proc/mounts") if str(home) in line), reverse=True):
            subprocess.run(["umount", "-l", mount])
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    in_a_home("osb-faults-", run)
