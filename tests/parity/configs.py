"""The configurations under which the two servers are compared, and the mark that their objects bear."""

import os

import engine
from servers import KEY

MARK = f"parity-{os.urandom(4).hex()}"
"""In the environment of every container and in the name of every volume of this run."""

_SERVER = """
[server]
host = "127.0.0.1"
port = @PORT@
"""
_RUNTIME = """
[runtime]
type = "docker"
execd_image = "osb-test/execd:stub"
"""
_DOCKER = f"""
[docker]
expiry = "own"
port_range_min = @MIN@
port_range_max = @MAX@
sandbox_env = {{ DROPPED = "by null", PARITY = "{MARK}" }}
"""

BRIDGE = f"""{_SERVER}
api_key = "@KEY@"
max_sandbox_timeout_seconds = 86400
{_RUNTIME}
{_DOCKER}
network_mode = "bridge"
[storage]
allowed_host_paths = ["/tmp/{MARK}", "/tmp/{MARK}-more/"]
"""
HOST = f"""{_SERVER}
eip = "https://public.example/base/"
{_RUNTIME}
{_DOCKER}
network_mode = "host"
[proxy]
resolve_internal = true
"""
LOST = f"""{_SERVER}
api_key = "@KEY@"
eip = "public.example:9000"
{_RUNTIME}
execd_run_as_init = true
{_DOCKER}
network_mode = "parity-no-such-network"
publish_host = "127.0.0.1"
[egress]
image = "127.0.0.1:1/parity-no-such-egress:1"
"""
STRICT = f"""{_SERVER}
api_key = "@KEY@"
{_RUNTIME}
execd_run_as_init = true
{_DOCKER}
network_mode = "bridge"
publish_host = "127.0.0.1"
pids_limit = 77
no_new_privileges = false
drop_capabilities = ["MKNOD"]
sandbox_binds = ["/tmp:/host-tmp:ro"]
[egress]
image = "127.0.0.1:1/parity-no-such-egress:1"
mode = "dns+nft"
"""

EGRESS = f"""{_SERVER}
api_key = "@KEY@"
{_RUNTIME}
{_DOCKER}
network_mode = "bridge"
[egress]
image = "osb-test/egress:stub"
"""

ALL = {
    "bridge": (BRIDGE, KEY),
    "host": (HOST, None),
    "lost": (LOST, KEY),
    "strict": (STRICT, KEY),
    "egress": (EGRESS, KEY),
}
"""Each with the key that its requests carry."""


def marked(kind, name):
    """Whether an object on the engine is of this run."""
    if kind in ("container", "image"):
        return MARK in engine.docker("inspect", name, check=False)
    return MARK in name
