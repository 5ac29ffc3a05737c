"""Walks through `osb` on `dev`: commands, sessions and files."""

import json
import os
import tempfile
import time

from cli_walk import osb, said, value
from cli_walk import report as cli_report
from report import Report

report = Report("osb on dev")
cli_report.walk = report.walk


def sandboxes():
    """Create to kill."""
    made = value("sandbox create", "sandbox", "create", "--image", "any", "--timeout", "5m").get("id", "none")
    report.check("sandbox health", value("sandbox health: answer", "sandbox", "health", made).get("healthy") is True)
    report.check("sandbox metrics", value("sandbox metrics: answer", "sandbox", "metrics", made)["cpu_count"] >= 1)
    commands(made)
    sessions(made)
    files(made)
    said("devops inspect", "devops", "inspect", made, has=f"Sandbox ID:     {made}")
    said("sandbox kill", "sandbox", "kill", made)
    said("sandbox get after kill", "sandbox", "get", made, has="not found", code=1)


def commands(made):
    """Commands that are waited for, and others."""
    said("command run", "command", "run", made, "-o", "raw", "--", "echo", "a  b", has="a  b\n")
    text = said("command run: lines", "command", "run", made, "-o", "raw", "--", "sh", "-c", "echo a; echo; echo b")
    report.check("command run: all lines", text == "a\n\nb\n", text)
    said("command run: a failure", "command", "run", made, "-o", "raw", "--", "sh", "-c", "exit 5", has=": 5", code=1)
    said(
        "command run: argv", "command", "run", made, "--argv", "-o", "raw", "--", "printf", "%s|", "$HOME", has="$HOME|"
    )
    said(
        "command run: timeout",
        "command",
        "run",
        made,
        "-t",
        "1s",
        "-o",
        "raw",
        "--",
        "sleep",
        "99",
        has=": 137",
        code=1,
    )
    text = said(
        "command run --background",
        *("command", "run", made, "--background", "-o", "json", "--", "sh", "-c", "echo x; sleep 99"),
        has="execution_id",
    )
    command = json.loads(text[text.index("{") :]).get("execution_id", "none")
    time.sleep(0.3)
    said("command logs", "command", "logs", made, command, "-o", "raw", has="x\n")
    status = value("command status: answer", "command", "status", made, command)
    report.check("command status", status.get("running") is True, status)
    said("command interrupt", "command", "interrupt", made, command, has="Interrupted")
    for _ in range(50):
        status = value("command status after interrupt", "command", "status", made, command)
        if not status.get("running"):
            break
    report.check("command interrupted", status.get("exit_code") == 143, status)


def sessions(made):
    """Shell sessions."""
    session = value("session create", "command", "session", "create", made, "--workdir", "/usr").get(
        "session_id", "none"
    )
    said("session run", "command", "session", "run", made, session, "-o", "raw", "--", "pwd", has="/usr\n")
    said("session run: export", "command", "session", "run", made, session, "-o", "raw", "--", "export", "FOO=bar")
    said(
        "session run: state",
        "command",
        "session",
        "run",
        made,
        session,
        "-o",
        "raw",
        "--",
        "sh",
        "-c",
        "echo $FOO",
        has="bar\n",
    )
    said("session delete", "command", "session", "delete", made, session, has="Deleted")


def files(made):
    """Files and directories."""
    with tempfile.TemporaryDirectory() as local:
        up, down = os.path.join(local, "up"), os.path.join(local, "down")
        content = os.urandom(1_000_000)
        with open(up, "wb") as file:
            file.write(content)
        said("file write", "file", "write", made, "f.txt", "--content", "some content", "--mode", "0644", has="Written")
        said("file cat", "file", "cat", made, "f.txt", has="some content")
        said("file upload", "file", "upload", made, up, "d/up", has="Uploaded")
        said("file download", "file", "download", made, "d/up", down, has="Downloaded")
        with open(down, "rb") as file:
            report.check("file download: content", file.read() == content)
    said("file mkdir", "file", "mkdir", made, "d1", "d2", "--mode", "700", has="created")
    said("file mv", "file", "mv", made, "f.txt", "d1/f.txt", has="Moved")
    said("file search", "file", "search", made, ".", "--pattern", "*.txt", "-o", "json", has="d1/f.txt")
    said("file chmod", "file", "chmod", made, "d1/f.txt", "--mode", "600", has="Permissions set")
    said("file info", "file", "info", made, "d1/f.txt", "-o", "json", has=['"mode": 600', '"size": 12'])
    said("file replace", "file", "replace", made, "d1/f.txt", "--old", "some", "--new", "other", has="Replaced")
    said("file cat after replace", "file", "cat", made, "d1/f.txt", has="other content")
    said("file rm", "file", "rm", made, "d1/f.txt", has="deleted")
    said("file rmdir", "file", "rmdir", made, "d1", "d2", "d", has="removed")
    said("file cat of nothing", "file", "cat", made, "d1/f.txt", has="No such file", code=1)


def errors():
    """What is refused."""
    said("a wrong key", "--api-key", "wrong", "sandbox", "list", has="invalid", code=1)
    report.check("no key", osb("--api-key", "", "sandbox", "list")[0] in (0, 1))


if __name__ == "__main__":
    for walk in (sandboxes, errors):
        try:
            walk()
        except Exception:
            report.broke(walk.__name__)
