#!/usr/bin/env python3
"""The differential run: the Python server and the gateway answer the same requests, on the same engine.

Prints `N compared, N equal, N listed differences` and ends non-zero if there is a difference that differences.toml
does not list, an entry there that nothing needed, a docs/differences.md that is out of date, or something left behind on
the engine."""

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
import configs  # noqa: E402
import differences  # noqa: E402
import engine  # noqa: E402
from areas import AREAS  # noqa: E402
from compare import Result, compare  # noqa: E402
from servers import pair  # noqa: E402
from side import Side  # noqa: E402


def options():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--gateway", type=Path, default=ROOT / "target/debug/opensandbox-gateway", help="the gateway's program"
    )
    parser.add_argument(
        "--peer", type=Path, default=ROOT / "target/peer/bin/opensandbox-server", help="the Python server's program"
    )
    parser.add_argument("--area", action="append", choices=sorted(AREAS), help="only this area; may be repeated")
    parser.add_argument("--jobs", type=int, default=3, help="areas at the same time (default 3)")
    parser.add_argument(
        "--shared-engine",
        action="store_true",
        help="others use the engine as well: look only for what this run left behind",
    )
    parser.add_argument("--usage", action="store_true", help="print how often each rule was used")
    parser.add_argument("--write-docs", action="store_true", help="only write docs/differences.md, and run nothing")
    return parser.parse_args()


def main():
    """Runs everything; returns the exit code."""
    asked = options()
    if asked.write_docs:
        differences.write()
        return 0
    chosen = asked.area or sorted(AREAS)
    before = engine.objects()
    rules, result, faults = differences.rules(), Result(), []
    # Nothing that an earlier run left, such as metadata files, may speak in this one.
    work = ROOT / "target/parity"
    shutil.rmtree(work, ignore_errors=True)
    served = {}
    try:
        start(served, {AREAS[name].config for name in chosen}, asked, work)
        run(chosen, served, asked.jobs, rules, result, faults)
    finally:
        for server in (server for both in served.values() for server in both):
            server.stop()
        for shared in Path("/tmp").glob(f"{configs.MARK}*"):
            shutil.rmtree(shared)
    faults += differences.unused(rules) if not asked.area else []
    faults += left_behind(before, asked.shared_engine)
    if differences.in_page() != differences.table():
        faults.append("docs/differences.md is out of date: scripts/parity --write-docs")
    if asked.usage:
        for rule in rules:
            print(f"{rule.used:5} {rule.entry['what']}: {rule.when}")
    for text in result.unlisted + faults:
        print(text, file=sys.stderr)
    print(f"{result.compared} compared, {result.equal} equal, {result.listed} listed differences")
    if result.unlisted:
        print(f"{len(result.unlisted)} unlisted differences", file=sys.stderr)
    return 1 if result.unlisted or faults else 0


def start(served, wanted, asked, work):
    """Starts both servers for each configuration, all at once, and waits for them. `served` has what is running."""
    for index, name in enumerate(sorted(wanted)):
        text, key = configs.ALL[name]
        served[name] = pair(name, text, [str(asked.peer)], [str(asked.gateway)], work, 61000 + 800 * index, key)
    for both in served.values():
        for server in both:
            server.wait()


def run(chosen, served, jobs, rules, result, faults):
    """Runs the areas, some at a time; within one the two servers are asked at the same time."""
    lock = threading.Lock()
    with backend.Backend() as service:

        def one(name):
            began = time.time()
            sides = [Side(server, name) for server in served[AREAS[name].config]]
            with ThreadPoolExecutor(2) as both:
                troubles = list(both.map(lambda side: walk(AREAS[name], side, service), sides))
            with lock:
                faults.extend(trouble for trouble in troubles if trouble)
                compare(name, sides, rules, result)
                print(f"{name}: {len(sides[0].records)} in {time.time() - began:.1f} s", flush=True)

        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(one, chosen))


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


def left_behind(before, shared):
    """What is on the engine now and was not before. On a shared engine, as far as it bears the run's mark."""
    time.sleep(0.5)
    new = engine.objects() - before
    left = sorted(thing for thing in new if not shared or configs.marked(*thing))
    return [f"left on the engine: {kind} {name}" for kind, name in left]


if __name__ == "__main__":
    sys.exit(main())
