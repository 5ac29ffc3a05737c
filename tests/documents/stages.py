"""What the documents' commands run on: a Docker Engine of their own, the API server of the tests, and gateways."""

import os
import re
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from http.client import HTTPException
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/parity"))

from blocks import Fault  # noqa: E402
from cluster import Cluster  # noqa: E402

PORT = 8080
"""Where the documents' gateways listen: nobody else has this network."""

TAGS = {"osb-test/execd:stub": "registry.example/execd:1", "osb-test/busybox:1": "busybox:latest"}
"""Images of the tests, under the names that the documents use."""

START = 60
"""Seconds until a server listens."""

MINIMUM = {
    "dev": '[runtime]\ntype = "process"\nexecd_image = "any"\n[server]\nhost = "127.0.0.1"\n',
    "docker": '[runtime]\ntype = "docker"\nexecd_image = "registry.example/execd:1"\n[docker]\nnetwork_mode = "bridge"\n',
    "kubernetes": '[runtime]\ntype = "kubernetes"\nexecd_image = "registry.example/execd:1"\n'
    '[kubernetes]\nnamespace = "opensandbox"\nkubeconfig_path = "~/.kube/config"\n',
}
"""The least that a gateway needs, by section; a document's configuration goes before it."""


def tag_images():
    """Gives the engine's images the names of the documents."""
    for image, name in TAGS.items():
        subprocess.run(["docker", "tag", image, name], check=True, timeout=60)


def is_up(port):
    """Whether a gateway answers there."""
    # Certificates of the documents are signed by nobody.
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    for scheme in ("http", "https"):
        try:
            with urllib.request.urlopen(f"{scheme}://127.0.0.1:{port}/health", timeout=2, context=anyone) as answer:
                return answer.status == 200
        except (OSError, HTTPException):
            pass
    return False


def completed(text, runtime):
    """A configuration with the sections that it lacks to start on a runtime."""
    has = set(re.findall(r"^\[(\w+)\]", text, re.MULTILINE))
    sections = re.split(r"^(?=\[)", MINIMUM[runtime], flags=re.MULTILINE)
    return text + "\n" + "".join(section for section in sections if section and re.match(r"\[(\w+)\]", section)[1] not in has)


class Server:
    """A program that runs until it is stopped, and what it printed."""

    def __init__(self, command, env, cwd, log):
        self.log = Path(log)
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def printed(self):
        """All of it so far, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text(errors="replace"))

    def wait(self, port):
        """Waits until it listens on a port."""
        end = time.monotonic() + START
        while not is_up(port):
            if self.process.poll() is not None:
                raise Fault(f"it ended with {self.process.returncode} and does not serve:\n{self.printed()[-2000:]}")
            if time.monotonic() > end:
                raise Fault(f"nothing listens on {port} after {START} s:\n{self.printed()[-2000:]}")
            time.sleep(0.05)

    def stop(self):
        """Ends it as Ctrl-C does."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Stages:
    """The engine and the API server, for all documents; the latter is started when the first needs it."""

    def __init__(self):
        self.cluster = None
        self.has_images = False

    def prepare(self, runtime, home):
        """Makes ready what a gateway of this runtime needs."""
        if runtime == "docker" and not self.has_images:
            tag_images()
            self.has_images = True
        if runtime == "kubernetes":
            if not self.cluster:
                self.cluster = Cluster(pods="127.0.0.1").__enter__()
            target = Path(home) / ".kube/config"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(Path(self.cluster.kubeconfig).read_text())

    def close(self):
        """Ends the API server."""
        if self.cluster:
            self.cluster.__exit__()
