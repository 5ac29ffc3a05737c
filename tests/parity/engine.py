"""The Docker Engine as both servers left it, by way of the `docker` program."""

import json
import re
import subprocess
from pathlib import Path

IMAGE = "osb-test/busybox:1"
"""The image of the corpus' sandboxes; scripts/engine builds it."""


def docker(*args, check=True):
    """Runs `docker` and returns what it prints."""
    done = subprocess.run(["docker", *args], capture_output=True, text=True)
    if check and done.returncode:
        raise RuntimeError(f"docker {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout


def look(container):
    """What the engine says of a container."""
    return json.loads(docker("inspect", container))[0]


def objects():
    """Every container, volume, network and snapshot image there is, to be compared before and after."""
    lists = {
        "container": ("ps", "-aq", "--no-trunc"),
        "volume": ("volume", "ls", "-q"),
        "network": ("network", "ls", "-q", "--no-trunc"),
        "image": ("images", "-q", "--no-trunc", "opensandbox-snapshots"),
    }
    return {(kind, item) for kind, command in lists.items() for item in docker(*command).split()}


def part(sandbox):
    """The parts of a sandbox's container that a server decides on."""
    return part_of(f"sandbox-{sandbox}") | {"files": files(sandbox)}


def part_of(container):
    """The parts of a container that a server decides on. Where the engine adds its own, they are the same for both."""
    seen = as_bound(look(container))
    config, networks = seen["Config"], seen["NetworkSettings"]["Networks"]
    config.pop("Hostname")
    # Which gateway created it: no other server has such a label.
    (config["Labels"] or {}).pop("opensandbox.io/created-by", None)
    for name in ("CapAdd", "CapDrop"):
        seen["HostConfig"][name] = sorted(seen["HostConfig"][name] or [])
    # The order says nothing, and of two values of one name the last counts.
    config["Env"] = {name: value for name, _, value in (entry.partition("=") for entry in config["Env"])}
    return {
        "name": seen["Name"],
        "state": seen["State"]["Status"],
        "path": seen["Path"],
        "args": seen["Args"],
        "config": filled(config),
        "host": filled(seen["HostConfig"]),
        "mounts": sorted(seen["Mounts"], key=lambda mount: mount["Destination"]),
        "networks": sorted(networks),
        "ports": sorted(seen["NetworkSettings"]["Ports"] or {}),
    }


STAGE = "/run/opensandbox-gateway/mounts/"
"""Where the gateway mounts what is bound into sandboxes, so that nobody can exchange it."""


def as_bound(seen):
    """A container whose mounts are told as if they were bound by their paths, and without the volume that has execd."""
    host, labels = seen["HostConfig"], seen["Config"]["Labels"] or {}
    is_execd = re.compile(r"opensandbox-runtime-[^:/]*").match
    staged = host.pop("Mounts", None) or []
    bound = [f"{real(m['Source'])}:{m['Target']}:{'ro' if m.get('ReadOnly') else 'rw'}" for m in staged]
    sidecar = labels.get("opensandbox.io/egress-auth-token")
    if not sidecar:
        host["Binds"] = [bind for bind in host["Binds"] or [] if not is_execd(bind)]
        seen["Mounts"] = [mount for mount in seen["Mounts"] if not is_execd(mount.get("Name", ""))]
        managed = "opensandbox.io/volume-managed-by"
        names = [name for name in json.loads(labels.pop(managed, "[]")) if not is_execd(name)]
        if names:
            labels[managed] = json.dumps(names, separators=(",", ":"))
    host["Binds"] = (host["Binds"] or []) + bound
    for mount in seen["Mounts"]:
        if mount["Source"].startswith(STAGE):
            mount |= {"Source": real(mount["Source"]), "Mode": "rw" if mount["RW"] else "ro"}
            # What is below the engine's own folder it binds so that it can unmount there.
            if mount["Source"].startswith(docker("info", "--format", "{{.DockerRootDir}}").strip()):
                mount["Propagation"] = "rslave"
    return seen


def real(source):
    """The path that is mounted at a place of the stage, on a host whose file systems are each mounted whole somewhere."""
    rows = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    device, root = next((row[2], row[3]) for row in rows if row[4] == source)
    top = next(row[4] for row in rows if row[2] == device and row[3] == "/")
    return f"{top.rstrip('/')}{root}"


def filled(settings):
    """Settings without those that are empty: the engine takes an empty list and none for the same."""
    return {name: value for name, value in settings.items() if value not in (None, [], {}, "")}


def files(sandbox):
    """Mode, owner and name of what was put below /opt/opensandbox."""
    listing = docker("exec", f"sandbox-{sandbox}", "ls", "-lan", "/opt/opensandbox/", check=False)
    rows = [line.split() for line in listing.splitlines()[1:]]
    return sorted(f"{row[0]} {row[2]}:{row[3]} {row[-1]}" for row in rows if row[-1] != "..")
