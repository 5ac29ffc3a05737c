"""The Docker Engine as both servers left it, by way of the `docker` program."""

import json
import subprocess

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
    seen = look(container)
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


def filled(settings):
    """Settings without those that are empty: the engine takes an empty list and none for the same."""
    return {name: value for name, value in settings.items() if value not in (None, [], {}, "")}


def files(sandbox):
    """Mode, owner and name of what was put below /opt/opensandbox."""
    listing = docker("exec", f"sandbox-{sandbox}", "ls", "-lan", "/opt/opensandbox/", check=False)
    rows = [line.split() for line in listing.splitlines()[1:]]
    return sorted(f"{row[0]} {row[2]}:{row[3]} {row[-1]}" for row in rows if row[-1] != "..")
