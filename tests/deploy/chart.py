"""The Helm chart by Helm's own engine: lint, rendering, and the plain manifests that are its rendering (scripts/chart)."""

import json
import pathlib
import sys

import helm_python as helm

ROOT = pathlib.Path(__file__).resolve().parents[2] / "deploy"
CHART = ROOT / "helm" / "opensandbox-gateway"
PLAIN = ROOT / "kubernetes"

# The Kubernetes that the lint takes for the cluster's.
KUBE_VERSION = "v1.30.0"

# The values of the plain manifests, and of the lint.
VALUES = {
    "image": {"repository": "registry.example/opensandbox-gateway"},
    "execdImage": "registry.example/execd:1",
    "apiKey": {"existingSecret": "opensandbox-gateway"},
    "config": {"restartOnChange": False},
}

# What is in a folder of its own, since not everybody wants it: its values besides, and its templates.
VARIANTS = {
    "tenants": ({"apiKey": {"existingSecret": ""}, "tenants": {"enabled": True, "existingSecret": "opensandbox-tenants"}},
                ["configmap", "deployment", "rbac"]),
    "agent-sandbox": ({"workloadProvider": "agent-sandbox"}, ["configmap", "rbac"]),
    "monitoring": ({"metrics": {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}},
                   ["servicemonitor", "prometheusrule"]),
}

HEAD = "# Written by `scripts/chart --write` from deploy/helm: change it there.\n"


def merged(below, above):
    """The values `above` in place of those below."""
    both = dict(below)
    for key, value in above.items():
        both[key] = merged(both[key], value) if isinstance(value, dict) and isinstance(both.get(key), dict) else value
    return both


def render(values, name="opensandbox-gateway", namespace="opensandbox"):
    """The templates' texts by their file's name."""
    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema(values)
        texts = chart.render(values, name=name, namespace=namespace, is_install=True)
    return {path.split("/templates/", 1)[1]: text for path, text in texts.items()}


def plain():
    """The plain manifests: path below deploy/kubernetes, and text."""
    files = {}
    variants = {"": ({}, None), **VARIANTS}
    for folder, (values, only) in variants.items():
        for name, text in render(merged(VALUES, values)).items():
            stem, _, kind = name.rpartition(".")
            if kind == "yaml" and text.strip() and (only is None or stem in only):
                lines = [line.rstrip() for line in text.strip().splitlines()]
                files[str(pathlib.Path(folder) / name)] = HEAD + "\n".join(lines) + "\n"
    return files


def check():
    """The faults of the chart, and of the plain manifests."""
    report = helm.lint(str(CHART), VALUES, strict=True, kube_version=KUBE_VERSION)
    faults = [f"{message['path']}: {message['error']}" for message in report["messages"] if message["severity"] > 1]
    faults += [error for error in report["errors"] if not any(error in fault for fault in faults)]
    if report["total_charts_linted"] != 1:
        faults.append(f"{report['total_charts_linted']} charts were linted")
    files = plain()
    there = {str(path.relative_to(PLAIN)) for path in PLAIN.rglob("*") if path.is_file()}
    faults += [f"deploy/kubernetes/{name}: no template writes it" for name in sorted(there - files.keys())]
    for name, text in files.items():
        if name not in there:
            faults.append(f"deploy/kubernetes/{name}: it is missing")
        elif (PLAIN / name).read_text() != text:
            faults.append(f"deploy/kubernetes/{name}: the chart renders something else: scripts/chart --write")
    return faults


def write():
    """Writes the plain manifests, and removes those that are none any more."""
    files = plain()
    for path in PLAIN.rglob("*.yaml"):
        if str(path.relative_to(PLAIN)) not in files:
            path.unlink()
    for name, text in files.items():
        path = PLAIN / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    print(f"scripts/chart: {len(files)} manifests are written")


def main():
    """Does what the command line says."""
    command = sys.argv[1]
    if command == "--render":
        asked = json.load(sys.stdin)
        try:
            json.dump(render(asked["values"], asked["name"], asked["namespace"]), sys.stdout)
        except helm.HelmError as error:
            sys.exit(f"scripts/chart: {error}")
    elif command == "--write":
        write()
    else:
        faults = check()
        for fault in faults:
            print(f"scripts/chart: {fault}", file=sys.stderr)
        if faults:
            sys.exit(1)
        print(f"scripts/chart: the chart is well, by Helm {helm.helm_sdk_version()}, and so are the plain manifests")


main()
