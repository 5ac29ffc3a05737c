"""A `dev` of the gateway, as a newcomer starts it: no Docker, no configuration, and the key that it prints."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

from servers import free_port


class Dev:
    """A running `dev`."""

    def __init__(self, program, work):
        self.home = Path(work) / "home-dev"
        self.home.mkdir(parents=True)
        self.log = Path(work) / "dev.log"
        self.port = free_port()
        # Without an engine, and with a state directory of its own.
        env = {name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "OPENSANDBOX_"))}
        env |= {"HOME": str(self.home), "TMPDIR": str(self.home), "NO_COLOR": "1"}
        with self.log.open("wb") as log:
            command = [program, "dev", "--port", str(self.port)]
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def wait(self, seconds=60):
        """Waits until it has said what to type, and returns the variables of its line for the SDKs."""
        end = time.time() + seconds
        while time.time() < end and self.process.poll() is None:
            text = self.log.read_text(errors="replace")
            line = re.search(r"^ +export (.*)$", text, re.MULTILINE)
            if line and "Ctrl-C" in text:
                return dict(pair.split("=", 1) for pair in line[1].split())
            time.sleep(0.05)
        self.stop()
        raise SystemExit(f"dev did not say what to type:\n{self.log.read_text(errors='replace')}")

    def stop(self):
        """Ends it as a newcomer does: Ctrl-C. Returns what is wrong with its end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return ["it had to be killed"]
        left = [str(path) for path in self.home.glob("opensandbox-gateway-*/gateway-*")]
        return [f"it left {path}" for path in left] + ([f"it ended with {code}"] if code else [])
