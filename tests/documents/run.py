#!/usr/bin/env python3
"""Runs what the documents say. scripts/documents calls it, with a network and an engine of its own."""

import argparse
import shutil
import signal
import sys
import time
import unittest
from pathlib import Path

import blocks
import selftest
from blocks import Fault
from session import Session
from stages import ROOT, Stages

PAGES = ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")


def documents():
    """The documents' paths in the repository."""
    return [page for page in PAGES if (ROOT / page).exists()] + sorted(
        str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")
    )


def options():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=blocks.HELP, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=ROOT / "target/debug/opensandbox-gateway", help="the gateway")
    parser.add_argument("--check", action="store_true", help="only look at the annotations; needs nothing but Python")
    parser.add_argument("--verbose", action="store_true", help="print each block that was tried, with its time")
    parser.add_argument("document", nargs="*", help="only these; such as docs/logs.md")
    asked = parser.parse_args()
    if unknown := set(asked.document) - set(documents()):
        parser.error(f"no such document: {', '.join(sorted(unknown))}")
    return asked


def main():
    """All documents; returns the exit code."""
    asked = options()
    suite = unittest.defaultTestLoader.loadTestsFromModule(selftest)
    if not unittest.TextTestRunner(verbosity=0).run(suite).wasSuccessful():
        return 1
    faults, passed, work = [], 0, ROOT / "target/documents"
    shutil.rmtree(work, ignore_errors=True)
    stages = Stages()
    # What ends this ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for page in asked.document or documents():
            began = time.monotonic()
            try:
                found = blocks.blocks(page, (ROOT / page).read_text())
            except Fault as fault:
                faults.append(str(fault))
                continue
            for block in found:
                if block.kind == "tested by":
                    faults += named_test(block)
            tried = [block for block in found if block.kind in ("run", "config", "file")]
            if tried and not asked.check:
                faults += read(page, tried, work / page.replace("/", "-"), asked, stages)
                print(f"{page}: {len(tried)} blocks in {time.monotonic() - began:.1f} s", flush=True)
            passed += len(found)
    finally:
        stages.close()
    for fault in faults:
        print(f"FAILED {fault}", file=sys.stderr)
    print(f"scripts/documents: {passed} blocks, {len(faults)} failed")
    return 1 if faults else 0


def read(page, found, work, asked, stages):
    """Does what a reader does with one document. Ends at the first fault, since what is below may need what failed."""
    session = Session(page, work, asked.program.resolve(), stages)
    try:
        for block in found:
            if block.kind == "file":
                session.write(block)
        for block in found:
            began = time.monotonic()
            try:
                if block.kind == "run":
                    session.run(block)
                elif block.kind == "config":
                    session.check_config(block)
            except Fault as fault:
                return [f"{block}: {fault}"]
            if asked.verbose:
                print(f"  {block}: {time.monotonic() - began:.1f} s", flush=True)
        return []
    finally:
        session.close()


def named_test(block):
    """What is wrong with the test that a block names."""
    test = ROOT / block.value
    if not test.is_file():
        return [f"{block}: there is no {block.value}"]
    text = test.read_text()
    lines = [line.strip() for line in block.text.splitlines() if len(line.strip()) > 20]
    if Path(block.document).name in text or any(line in text for line in lines):
        return []
    return [f"{block}: {block.value} neither names {block.document} nor has a line of the block"]


if __name__ == "__main__":
    sys.exit(main())
