#!/usr/bin/env python3
"""Take-over: one server makes sandboxes and stops; the other one, with the same file and HOME, carries on; then the
first one again. Both ways round. Prints `N passed, N failed`; what is still on the engine at the end is a failure."""

import argparse
import json
import shutil
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

import configs  # noqa: E402
import engine  # noqa: E402
from servers import KEY, Server  # noqa: E402
from side import sandbox  # noqa: E402
from wire import Request, exchange  # noqa: E402


class Told:
    """Counts and prints what was checked."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, step, holds, seen=""):
        """Passes if `holds`."""
        if holds:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED {step}: {str(seen)[:1000]}", flush=True)


class Turn:
    """One server while it is its turn."""

    def __init__(self, kind, programs, home, work):
        low = 61000 if kind == "python" else 61500
        self.kind = kind
        # As operators have it: the home decides which sandboxes end.
        config = configs.ALL["bridge"][0].replace('expiry = "own"\n', "")
        self.server = Server(kind, programs[kind], config, work, (low, low + 499), home=home, key=KEY)

    def __enter__(self):
        self.server.start().wait()
        return self

    def __exit__(self, *_):
        self.server.stop()

    def ask(self, method, path, body=None):
        """Status and JSON (or text) of an answer."""
        headers = [("Host", "x"), ("OPEN-SANDBOX-API-KEY", KEY), ("Content-Type", "application/json")]
        answer = exchange(
            self.server.port, Request(method, path, headers, None if body is None else json.dumps(body).encode())
        )
        try:
            return answer.status, json.loads(answer.body)
        except ValueError:
            return answer.status, answer.body.decode(errors="replace")

    def make(self, **fields):
        """A new sandbox's id."""
        status, made = self.ask("POST", "/v1/sandboxes", sandbox(**fields))
        if status != 202:
            raise SystemExit(f"{self.kind} made no sandbox: {status} {made}")
        return made["id"]

    def renew(self, made, when):
        """Renews to a time; returns the status."""
        return self.ask("POST", f"/v1/sandboxes/{made}/renew-expiration", {"expiresAt": when})[0]

    def patch(self, made, patch):
        """Patches metadata; returns the status."""
        return self.ask("PATCH", f"/v1/sandboxes/{made}/metadata", patch)[0]

    def views(self, ids):
        """What it says of each sandbox."""
        return {name: self.ask("GET", f"/v1/sandboxes/{made}") for name, made in ids.items()}

    def until_gone(self, made, seconds):
        """Whether the sandbox is gone within the time."""
        end = time.time() + seconds
        while time.time() < end:
            if self.ask("GET", f"/v1/sandboxes/{made}")[0] == 404:
                return True
            time.sleep(0.1)
        return False


def unmark():
    """Takes away the gateway's mark on the engine: it is of a home that is gone after the run."""
    engine.docker("volume", "rm", "-f", "opensandbox-gateway-owner", check=False)


def soon(seconds):
    """The time in so many seconds, as clients write it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def make_all(first, token):
    """One sandbox of each kind, made and changed by the first server."""
    print_and_sleep = ["sh", "-c", "echo first; echo second; exec sleep 100000"]
    ids = {
        "plain": first.make(
            metadata={"run": token, "a": "1"},
            entrypoint=print_and_sleep,
            extensions={"opensandbox.extensions.x": "y", "access.renew.extend.seconds": "600"},
        ),
        "manual": first.make(timeout=None, metadata={"run": token}),
        "renewed": first.make(metadata={"run": token}),
        "patched": first.make(metadata={"run": token, "a": "1", "b": "2"}, platform={"os": "linux", "arch": "amd64"}),
        "emptied": first.make(metadata={"c": "3"}),
        "ended": first.make(metadata={"run": token}, entrypoint=["sh", "-c", "exit 3"]),
        "paused": first.make(metadata={"run": token}),
        "deleted": first.make(metadata={"run": token}),
        "expiring": first.make(metadata={"run": token}),
        "saved": first.make(metadata={"run": token}),
        "late": first.make(metadata={"run": token}),
    }
    first.renew(ids["renewed"], "2090-01-01T00:00:00.123456Z")
    first.patch(ids["patched"], {"a": None, "new": "x"})
    first.patch(ids["emptied"], {"c": None})
    first.ask("POST", f"/v1/sandboxes/{ids['paused']}/pause")
    first.renew(ids["expiring"], soon(20))
    first.renew(ids["saved"], soon(20))
    return ids


def hand_over(told, programs, kinds, home, work):
    """The first server makes, the second changes, the first one again takes what the second left."""
    way = " to ".join(kinds)
    token = f"t{time.time_ns()}"
    turns = [
        Turn(kind, programs, home, work / f"{way} {index}".replace(" ", "-"))
        for index, kind in enumerate((*kinds, kinds[0]))
    ]
    with turns[0] as first:
        ids = make_all(first, token)
        snapshot = first.ask("POST", f"/v1/sandboxes/{ids['plain']}/snapshots", {"name": token})[1]["id"]
        wait_for_snapshot(first, snapshot)
        seen, snapshots = first.views(ids), first.ask("GET", f"/v1/snapshots?name={token}")
        first.renew(ids["late"], soon(1))
    with turns[1] as second:
        told.check(f"{way}: what expired meanwhile is gone", second.until_gone(ids.pop("late"), 5))
        seen.pop("late")
        compare(told, f"{way}: as the first said", seen, second.views(ids))
        told.check(f"{way}: the snapshot", second.ask("GET", f"/v1/snapshots?name={token}") == snapshots, snapshots)
        listed = second.ask("GET", f"/v1/sandboxes?metadata=run%3D{token}&pageSize=200")[1]["items"]
        told.check(
            f"{way}: all are listed",
            {item["id"] for item in listed} == {made for name, made in ids.items() if name != "emptied"},
            listed,
        )
        change(told, way, second, ids, token)
        restored = second.ask(
            "POST",
            "/v1/sandboxes",
            {"snapshotId": snapshot, "resourceLimits": {}, "timeout": 3600, "entrypoint": ["sleep", "100000"]},
        )
        told.check(f"{way}: restored", restored[0] == 202, restored)
        ids["restored"] = restored[1].get("id", "none")
        seen = second.views(ids)
    with turns[2] as first:
        compare(told, f"{way} and back", apart(seen), apart(first.views(ids)))
        for name, made in ids.items():
            answer = first.ask("DELETE", f"/v1/sandboxes/{made}")
            told.check(f"{way} and back: delete {name}", answer[0] == 204, answer)
        # Last: an image in use cannot be deleted.
        told.check(f"{way} and back: delete the snapshot", first.ask("DELETE", f"/v1/snapshots/{snapshot}")[0] == 204)
    left = sorted(str(file.relative_to(home)) for file in home.glob(".opensandbox/metadata/**/*.json"))
    told.check(f"{way} and back: files of deleted sandboxes are gone", not left, left)


def change(told, way, second, ids, token):
    """What the second server does with the first one's sandboxes."""
    if second.kind == "gateway":
        logs = second.ask("GET", f"/v1/sandboxes/{ids['plain']}/logs?tail=1")
        told.check(f"{way}: followed", logs == (200, "second\n"), logs)
    told.check(
        f"{way}: diagnostics", "second" in str(second.ask("GET", f"/v1/sandboxes/{ids['plain']}/diagnostics/logs"))
    )
    told.check(f"{way}: save one by renewal", second.renew(ids["saved"], "2091-01-01T00:00:00Z") == 200)
    told.check(f"{way}: renew", second.renew(ids["plain"], "2092-01-01T00:00:00Z") == 200)
    told.check(f"{way}: renew again", second.renew(ids["renewed"], "2093-01-01T00:00:00.5Z") == 200)
    told.check(f"{way}: renew a manual one", second.renew(ids["manual"], "2092-01-01T00:00:00Z") == 409)
    told.check(f"{way}: patch", second.patch(ids["plain"], {"a": "2"}) == 200)
    told.check(f"{way}: patch again", second.patch(ids["patched"], {"b": None, "c": "4"}) == 200)
    told.check(f"{way}: patch what is empty", second.patch(ids["emptied"], {"d": "5"}) == 200)
    told.check(f"{way}: resume", second.ask("POST", f"/v1/sandboxes/{ids['paused']}/resume")[0] == 202)
    told.check(f"{way}: endpoint", second.ask("GET", f"/v1/sandboxes/{ids['plain']}/endpoints/8080")[0] == 200)
    told.check(f"{way}: delete", second.ask("DELETE", f"/v1/sandboxes/{ids.pop('deleted')}")[0] == 204)
    told.check(f"{way}: expires in time", second.until_gone(ids.pop("expiring"), 25))
    told.check(f"{way}: the renewed one stays", second.ask("GET", f"/v1/sandboxes/{ids['saved']}")[0] == 200)
    found = second.ask("GET", f"/v1/sandboxes?metadata=run%3D{token}%26c%3D4")[1]["items"]
    told.check(f"{way}: found by patched metadata", [item["id"] for item in found] == [ids["patched"]], found)


def compare(told, step, wanted, seen):
    """Each sandbox must read as before, to the byte but for the order of members."""
    for name, before in wanted.items():
        told.check(f"{step}: {name}", seen.get(name) == before, f"\n  before: {before}\n  after:  {seen.get(name)}")


def apart(views):
    """Without what the Python server takes from the image that a sandbox was restored from, and the gateway does not."""
    status, restored = views["restored"]
    return views | {
        "restored": (status, {key: restored[key] for key in restored if key not in ("metadata", "extensions")})
    }


def wait_for_snapshot(turn, snapshot):
    """Waits until it is made."""
    for _ in range(200):
        if turn.ask("GET", f"/v1/snapshots/{snapshot}")[1]["status"]["state"] != "Creating":
            return
        time.sleep(0.1)


def main():
    """Both ways; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", type=Path, default=ROOT / "target/debug/opensandbox-gateway")
    parser.add_argument("--peer", type=Path, default=ROOT / "target/peer/bin/opensandbox-server")
    asked = parser.parse_args()
    programs = {"python": [str(asked.peer)], "gateway": [str(asked.gateway)]}
    work = ROOT / "target/takeover"
    shutil.rmtree(work, ignore_errors=True)
    told = Told()
    try:
        for kinds in (("python", "gateway"), ("gateway", "python")):
            unmark()
            home = work / f"home-of-{kinds[0]}"
            home.mkdir(parents=True)
            for index in range(3):
                (work / f"{kinds[0]}-to-{kinds[1]}-{index}").mkdir()
            hand_over(told, programs, kinds, home, work)
    finally:
        unmark()
        # On the way out all is deleted by the servers; a run that broke off leaves its own behind.
        left = [name for kind, name in engine.objects() if kind == "container" and configs.marked(kind, name)]
        told.check("nothing is left on the engine", not left, left)
        for name in left:
            engine.docker("rm", "-fv", name, check=False)
    print(f"{told.passed} passed, {told.failed} failed")
    return 1 if told.failed else 0


if __name__ == "__main__":
    sys.exit(main())
