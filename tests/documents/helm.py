#!/usr/bin/env python3
"""`helm install` as the documents write it: Helm's engine checks the values and renders the chart; nothing is installed."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main():
    """Reads the command line as Helm does, and renders."""
    parser = argparse.ArgumentParser(prog="helm")
    parser.add_argument("command", choices=["install", "upgrade", "template"])
    parser.add_argument("name")
    parser.add_argument("chart", type=Path)
    parser.add_argument("-n", "--namespace", default="default")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--set-file", action="append", default=[])
    asked = parser.parse_args()
    if asked.chart.resolve() != ROOT / "deploy/helm/opensandbox-gateway":
        parser.error(f"{asked.chart} is not the chart of this repository")
    values = {}
    for pair in asked.set:
        put(values, *pair.split("=", 1))
    for pair in asked.set_file:
        path, file = pair.split("=", 1)
        put(values, path, Path(file).read_text())
    given = json.dumps({"name": asked.name, "namespace": asked.namespace, "values": values})
    result = subprocess.run([ROOT / "scripts/chart", "--render"], input=given, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode == 0:
        print(f"NAME: {asked.name}\n{len(json.loads(result.stdout))} templates")
    return result.returncode


def put(values, path, text):
    """One value at a path of names."""
    *names, last = path.split(".")
    for name in names:
        values = values.setdefault(name, {})
    values[last] = {"true": True, "false": False}.get(text, int(text) if text.isdigit() else text)


if __name__ == "__main__":
    sys.exit(main())
