"""Starts the two servers, each with the same configuration and a port, a HOME and a port range of its own."""

import itertools
import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

KEY = "parity-key"
"""The API key of both servers, where the configuration has one."""


DRAWN = itertools.count(os.getpid() * 811)


def free_port():
    """A port of 127.0.0.1 that nobody listens on, each once: a server takes seconds to start, and another one may begin
    meanwhile. It is none of those that the system gives to connections, which may come to stand in its place, nor of those of
    the integration tests."""
    while True:
        port = 22000 + next(DRAWN) % 10000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Server:
    """One running server. `kind` is `python` or `gateway`."""

    def __init__(self, kind, program, config, work, ports, home=None, key=KEY):
        self.kind, self.program, self.key = kind, program, key
        self.work = Path(work)
        self.home = Path(home or self.work / f"home-{kind}")
        self.home.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.ports = ports
        self.process = None
        text = config.replace("@PORT@", str(self.port))
        text = text.replace("@MIN@", str(ports[0])).replace("@MAX@", str(ports[1])).replace("@KEY@", key or "")
        self.file = self.work / f"{kind}.toml"
        self.file.write_text(text)
        self.log = self.work / f"{kind}.log"

    def start(self):
        """Starts the process; `wait` tells when it answers."""
        env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        env |= {"HOME": str(self.home), "OPENSANDBOX_INSECURE_SERVER": "YES", "NO_COLOR": "1"}
        env.pop("OPENSANDBOX_SERVER_API_KEY", None)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.program, "--config", str(self.file)], env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        return self

    def wait(self, seconds=90):
        """Waits until `/health` answers."""
        end = time.time() + seconds
        while time.time() < end:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.kind} ended with {self.process.returncode}:\n{self.tail()}")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2).read()
                return self
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"{self.kind} did not answer within {seconds} s:\n{self.tail()}")

    def stop(self):
        """Ends the process as an operator does."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def tail(self, lines=30):
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def pair(name, config, peer, gateway, work, base, key=KEY):
    """Both servers for one configuration, started and not yet waited for."""
    work = Path(work) / name
    work.mkdir(parents=True, exist_ok=True)
    sides = (("python", peer, base), ("gateway", gateway, base + 400))
    return [Server(kind, program, config, work, (low, low + 399), key=key).start() for kind, program, low in sides]
