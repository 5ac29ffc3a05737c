"""Walks through `osb`, the official command line: every command group that asks the server."""

import json
import os
import subprocess
import sys
import time

from report import Report

OSB = os.path.join(os.path.dirname(sys.executable), "osb")
IMAGE = "osb-test/busybox:1"
ON_CLUSTER = os.environ.get("CLIENTS_RUNTIME") == "kubernetes"
PAUSED = "Sandbox is already paused" if ON_CLUSTER else "Sandbox is not in a running state."
NONE = "Sandbox 'nope' not found" if ON_CLUSTER else "Sandbox nope not found."
TEMPLATES = "emplate" if ON_CLUSTER else "Template management requires the kubernetes runtime."
RUNS = "(no events)" if ON_CLUSTER else "Status:     running"
report = Report("osb on Kubernetes" if ON_CLUSTER else "osb")


def osb(*args):
    """Runs a command; returns its exit code and what it printed."""
    done = subprocess.run([OSB, "--no-color", *args], capture_output=True, text=True, timeout=90)
    return done.returncode, done.stdout + done.stderr


def said(step, *args, has="", code=0):
    """The command must end with `code` and print all of `has`."""
    ended, text = osb(*args)
    wanted = [has] if isinstance(has, str) else has
    report.check(step, ended == code and all(part in text for part in wanted), (ended, text[-600:]))
    return text


def value(step, *args):
    """The command must end well and print JSON, which is returned."""
    ended, text = osb(*args, "-o", "json")
    try:
        found = json.loads(text[text.index("{") :])
    except ValueError:
        found = {}
    report.check(step, ended == 0 and found, (ended, text[-600:]))
    return found


def sandboxes():
    """Create to kill."""
    token = f"w{time.time_ns()}"
    made = value(
        "sandbox create", "sandbox", "create", "--image", IMAGE, "--timeout", "5m", "--metadata", f"walk={token}"
    ).get("id", "none")
    value("sandbox get", "sandbox", "get", made)
    listed = value(
        "sandbox list",
        "sandbox",
        "list",
        "--metadata",
        f"walk={token}",
        "--state",
        "Running",
        "--page",
        "1",
        "--page-size",
        "5",
    )
    report.check("sandbox list: items", [item["id"] for item in listed.get("items", [])] == [made], listed)
    value("sandbox endpoint", "sandbox", "endpoint", made, "--port", "8080")
    report.check("sandbox health", value("sandbox health: answer", "sandbox", "health", made).get("healthy") is True)
    value("sandbox renew", "sandbox", "renew", made, "--timeout", "10m")
    value("sandbox metrics", "sandbox", "metrics", made)
    said("command run", "command", "run", made, "-o", "raw", "--", "echo", "from-inside", has="from-inside")
    said("sandbox pause", "sandbox", "pause", made)
    report.check("sandbox pause: paused", becomes(made, "Paused"))
    said("sandbox pause again", "sandbox", "pause", made, has=PAUSED, code=1)
    said("sandbox resume", "sandbox", "resume", made)
    report.check("sandbox resume: running", becomes(made, "Running"))
    snapshots(made)
    said("diagnostics logs", "diagnostics", "logs", made, "--scope", "container", has="(no logs)")
    said("diagnostics events", "diagnostics", "events", made, "--scope", "runtime", has=RUNS)
    said("devops logs", "devops", "logs", made, "--tail", "5", has="(no logs)")
    said("devops events", "devops", "events", made, "--limit", "5", has=RUNS)
    said("devops inspect", "devops", "inspect", made, has=["Pod Name:" if ON_CLUSTER else "Container ID:", f"opensandbox.io/id={made}"])
    said("devops summary", "devops", "summary", made, has=["SANDBOX DIAGNOSTICS SUMMARY", "LOGS (last 50 lines)"])
    said("sandbox kill", "sandbox", "kill", made)
    said("sandbox get after kill", "sandbox", "get", made, has="not found", code=1)


def becomes(made, state):
    """Whether a sandbox comes to this state."""
    end = time.time() + 10
    while time.time() < end:
        if f'"{state}"' in json.dumps(value_of("sandbox", "get", made)):
            return True
    return False


def snapshots(source):
    """Create to delete."""
    made = value("snapshot create", "snapshot", "create", source, "--name", f"w{time.time_ns()}").get("id", "none")
    for _ in range(50):
        state = json.dumps(value_of("snapshot", "get", made))
        if "Creating" not in state:
            break
        time.sleep(0.2)
    report.check("snapshot get", "Ready" in state, state)
    value("snapshot list", "snapshot", "list", "--sandbox-id", source)
    restored = value(
        "sandbox create from a snapshot", "sandbox", "create", "--snapshot-id", made, "--timeout", "5m"
    ).get("id", "none")
    said("sandbox kill what was restored", "sandbox", "kill", restored)
    said("snapshot delete", "snapshot", "delete", made)
    said("snapshot get after delete", "snapshot", "get", made, has="not found", code=1)


def value_of(*args):
    """What a command prints as JSON; not a step."""
    text = osb(*args, "-o", "json")[1]
    return json.loads(text[text.index("{") :]) if "{" in text else {}


def errors():
    """What is refused."""
    said("sandbox get none", "sandbox", "get", "nope", has=NONE, code=1)
    said("devops logs of none", "devops", "logs", "nope", has="Sandbox 'nope' not found", code=1)
    said("diagnostics of none", "diagnostics", "logs", "nope", "--scope", "all", has="not found", code=1)
    said("template list", "template", "list", has=TEMPLATES, code=1)
    said("a wrong key", "--api-key", "wrong", "sandbox", "list", has="invalid", code=1)


if __name__ == "__main__":
    for walk in (sandboxes, errors):
        try:
            walk()
        except Exception:
            report.broke(walk.__name__)
