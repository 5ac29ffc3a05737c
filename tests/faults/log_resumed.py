#!/usr/bin/env python3
"""A client follows a numbered log by its tokens while everything between breaks: the gateway is killed and started again every
second, the engine is stopped and goes on, and the log rotates. Every number arrives once and in order; where numbers are missing
there is a gap record, and nowhere else.

The engine is a real one of this test's own. scripts/faults starts this; it needs root.
"""

import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid

from engine_killed import GATEWAY, IMAGES, Engine, Gateway, in_a_home, until

#: How long it goes on, in seconds.
TIME = 30
#: Prints numbers as fast as the shell can with a pause every 50.
NUMBERS = "i=0; while :; do i=$((i+1)); echo $i; [ $((i % 50)) != 0 ] || usleep 20000; done"


class Restarted(Gateway):
    """A gateway on one port, which can be killed and started again."""

    def restart(self):
        self.process.kill()
        self.process.wait()
        self.process = subprocess.Popen([GATEWAY, "--config", self.config], env=self.environment, stdout=self.log, stderr=self.log)

    def __init__(self, home, engine):
        super().__init__(home, engine)
        self.config = home / "config.toml"
        self.environment = {**os.environ, "HOME": str(home), "DOCKER_HOST": f"unix://{engine.socket}"}


class Reader(threading.Thread):
    """Reads records over every cut, with the id of the last one."""

    def __init__(self, gateway, sandbox):
        super().__init__(daemon=True)
        self.gateway, self.sandbox = gateway, sandbox
        self.records, self.after, self.connections, self.refusals = [], None, 0, []
        self.stopped = threading.Event()
        self.start()

    def run(self):
        while not self.stopped.is_set():
            try:
                self.read()
            except (http.client.HTTPException, OSError, json.JSONDecodeError):
                pass
            time.sleep(0.05)

    def read(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=20)
        query = f"follow=true&format=ndjson&heartbeat=1{f'&after={self.after}' if self.after else ''}"
        try:
            connection.request("GET", f"/v1/sandboxes/{self.sandbox}/logs?{query}", headers={"OPEN-SANDBOX-API-KEY": "k"})
            answer = connection.getresponse()
            if answer.status != 200:
                self.refusals.append((answer.status, answer.read()))
                return
            self.connections += 1
            while not self.stopped.is_set():
                line = answer.readline()
                if not line.endswith(b"\n"):
                    return
                record = json.loads(line)
                self.after = record.get("id", self.after)
                if record.get("event") != "ping":
                    self.records.append(record)
        finally:
            connection.close()


def container(engine, options):
    """A sandbox that prints numbers, made by hand for its log's options."""
    sandbox = str(uuid.uuid4())
    engine.docker("run", "--detach", "--network", "none", "--name", f"sandbox-{sandbox}", "--label", f"opensandbox.io/id={sandbox}",
                  *options, IMAGES[0], "sh", "-c", NUMBERS)
    return sandbox


def check_records(records, must_have_gap):
    """Every number once and in order, and a gap where some are missing, and nowhere else."""
    last, is_gap, gaps = 0, False, 0
    for record in records:
        event = record.get("event")
        if event == "gap":
            assert not is_gap, "two gaps for one hole"
            is_gap, gaps = True, gaps + 1
            continue
        assert event in (None, "end"), record
        if event == "end":
            assert record["reason"] in ("backend_lost", "drain"), record
            continue
        number = int(record["log"])
        if is_gap:
            assert number > last + 1, f"a gap between {last} and {number}"
        else:
            assert number == last + 1, f"{number} behind {last}, without a gap"
        last, is_gap = number, False
    assert not must_have_gap or gaps, "the log was to lose lines"
    return last, gaps


def disturb(gateway, engine, end):
    """Kills the gateway every second; stops the engine now and then."""
    while time.monotonic() < end:
        time.sleep(1)
        gateway.restart()
        if random.random() < 0.3:
            engine.process.send_signal(signal.SIGSTOP)
            time.sleep(0.5)
            engine.process.send_signal(signal.SIGCONT)


def run(home):
    engine = Engine(home)
    try:
        engine.load()
        # One keeps all, one rotates and keeps enough, one loses lines whenever its reader is away.
        kinds = {"whole": ([], False), "rotating": (["--log-opt", "max-size=400k", "--log-opt", "max-file=5"], False)}
        sandboxes = {name: container(engine, options) for name, (options, _) in kinds.items()}
        gateway = Restarted(home, engine)
        try:
            readers = {name: Reader(gateway, sandbox) for name, sandbox in sandboxes.items()}
            disturb(gateway, engine, time.monotonic() + TIME)
            until("the gateway answers", lambda: gateway.ask("GET", "/health")[0] == 200)
            counts = {name: len(reader.records) for name, reader in readers.items()}
            until("the readers go on", lambda: all(len(r.records) > counts[n] + 100 for n, r in readers.items()))
            for name, reader in readers.items():
                reader.stopped.set()
                reader.join(30)
                try:
                    last, gaps = check_records(list(reader.records), kinds[name][1])
                except AssertionError:
                    (home / f"{name}.json").write_text("\n".join(map(json.dumps, reader.records)))
                    shutil.copy(home / f"{name}.json", tempfile.gettempdir())
                    raise
                assert reader.connections > TIME / 4, f"{name}: {reader.connections} connections"
                refused = {status for status, _ in reader.refusals} - {500, 503}
                assert not refused, reader.refusals[:3]
                print(f"{name}: {last} numbers, {gaps} gaps, {reader.connections} connections passed")
        finally:
            gateway.process.kill()
            gateway.process.wait()
    finally:
        for name in engine.containers():
            engine.docker("rm", "-f", name, check=False)
        engine.end()


if __name__ == "__main__":
    in_a_home("osb-resumed-", run)
