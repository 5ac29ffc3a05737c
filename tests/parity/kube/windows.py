"""Windows sandboxes: a virtual machine in a privileged pod."""

from cluster import batch, claim
from creating import created
from side import DROP

from . import area
from .making import AUTH, HOST, OWNED, PERIODIC, POLICY, POOL, PRE, of_claim, volume

WINDOWS = {"os": "windows", "arch": "amd64"}
BIG = {"cpu": "2", "memory": "4Gi", "disk": "64Gi"}
ISOLATED = {"extensions": {"bootstrap.execd.isolation": "enable"}}


def limits(**given):
    """A row of these limits, in which `_` stands for `-`."""
    return {"resourceLimits": {name.replace("_", "-"): text for name, text in given.items()}}


ROWS = {
    "": {},
    "on arm64": {"platform": {"os": "windows", "arch": "arm64"}},
    "in odd letters": {"platform": {"os": " Windows ", "arch": "AMD64"}},
    "without an end": {"timeout": None},
    "with an empty command": {"entrypoint": [""]},
    "with the default command": {"entrypoint": ["tail", "-f", "/dev/null"]},
    "with nearly that": {"entrypoint": ["tail -f /dev/null"]},
    # its size
    "without limits": {"resourceLimits": {}},
    "without resourceLimits": {"resourceLimits": DROP},
    **{f"with cpu {text!r}": limits(cpu=text) for text in ("2", "2500m", "2.5", "2.0", "1e1", "1", "1999m", "", "nan", "-2", "2k", "4000000u", "9" * 100)},
    **{
        f"with memory {text!r}": limits(memory=text)
        for text in ("4G", "4500Mi", "4095M", "4095Mi", " 4G ", "4gb", "1Ti", "8gi", "3Gi", "4.5Gi", "4294967296", "4e9", "6GiB", "")
    },
    **{f"with disk {text!r}": limits(disk=text) for text in ("64G", "1T", "70000Mi", "1G", "x")},
    "with storage before ephemeral-storage": limits(storage="80G", ephemeral_storage="1G"),
    "with ephemeral-storage": limits(ephemeral_storage="70Gi"),
    "with too little ephemeral-storage": limits(ephemeral_storage="1Gi"),
    "too small everywhere": limits(cpu="1", memory="1Gi", disk="1G"),
    "with gpu 2": limits(cpu="2", gpu="2"),
    "with gpu x": limits(gpu="x"),
    "with gpu all": limits(gpu="all"),
    "with gpu ALL and little cpu": limits(cpu="1", gpu=" ALL "),
    "with other resources": {"resourceLimits": {"cpu": "2", "example.com/x": "1", "foo": "lots"}},
    "that requests less": {"resourceRequests": {"cpu": "1", "memory": "1Gi"}},
    "that requests one alone": {"resourceRequests": {"cpu": "100m"}},
    "that requests bytes": {"resourceRequests": {"memory": "4e9"}},
    "that requests a disk": {"resourceRequests": {"disk": "1Gi", "gpu": "all"}},
    "that requests without limits": {"resourceLimits": {}, "resourceRequests": {"cpu": "1"}},
    "that requests memory without a limit": {**limits(cpu="2"), "resourceRequests": {"memory": "4Gi"}},
    "of a bad quantity: cpu": limits(cpu=" 2 "),
    "of a bad quantity: a request": {"resourceRequests": {"cpu": "lots"}},
    "of a bad quantity: above its limit": {"resourceRequests": {"memory": "7Gi"}},
    # its variables
    "with variables": {"env": {"A": "1", "B": None, "OPENSANDBOX_ID": "mine", "EXECD": "mine", "EXECD_INIT": "0"}},
    "with the machine's variables": {"env": {"USER_PORTS": "22, 8080,,x", "CPU_CORES": "9", "Z": "z", "RAM_SIZE": None}},
    "with variables and no limits": {"resourceLimits": {}, "env": {"CPU_CORES": "9", "USER_PORTS": ""}},
    "with ports twice": {"env": {"USER_PORTS": "22,22, 3389"}},
    "with no value for ports": {"env": {"USER_PORTS": None}},
    "with variables for egress": {"env": {"OPENSANDBOX_EGRESS_LOG_LEVEL": "debug", "OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT": "x"}},
    "with hooks": {"lifecycle": {"preStart": PRE, "periodic": [PERIODIC]}, "env": {"A": "1"}},
    # the rest
    "with isolation": ISOLATED,
    "with secure access": {"secureAccess": True},
    "with credentials": {"image": {"uri": "reg.example/w:1", "auth": AUTH}},
    "with metadata": {"metadata": {"a": "b"}, "extensions": {"opensandbox.extensions.x": "y", "access.renew.extend.seconds": "600"}},
    "with a policy": {"networkPolicy": POLICY},
    "with a policy and little cpu": {"networkPolicy": POLICY, **limits(cpu="1")},
    "of any pool": {"extensions": {"poolRef": "*"}},
    "of a pool and of little cpu": {"extensions": {"poolRef": "p1"}, **limits(cpu="1")},
    "of a pool that there is not": {"extensions": {"poolRef": "nope"}, **limits(cpu="1")},
    # volumes
    "with volumes": {"volumes": [volume("h", host=HOST), of_claim("p", "made", **OWNED)]},
    **{
        f"with the volume {name}": {"volumes": [volume(name, host=HOST)]}
        for name in ("opensandbox-bin", "opensandbox-win-oem", "opensandbox-win-kvm", "opensandbox-win-tun", "opensandbox-win-storage", "isolation-upper")
    },
    "with the volume of isolation": {**ISOLATED, "volumes": [volume("isolation-upper", host=HOST)]},
    "with a volume in its disk's folder": {"volumes": [volume("h", host=HOST, mountPath="/storage/x")]},
    **{
        f"with a volume in the way: {place}": {"volumes": [volume("h", host=HOST, mountPath=place)]}
        for place in ("/oem", "/oem/x", "/storage", "/storage/", "/dev/kvm", "/dev/net/tun", "/opt/opensandbox")
    },
    "with a taken claim and little cpu": {**limits(cpu="1"), "volumes": [of_claim("p", "owned", **OWNED)]},
    "with a taken name and little cpu": {**limits(cpu="1"), "volumes": [volume("opensandbox-bin", host=HOST)]},
}
"""By name, each of what it changes."""


def made(side, name, fields):
    """Creates a Windows sandbox."""
    created(side, {"platform": WINDOWS, "resourceLimits": BIG, **fields}, name=f"create one {name}".strip())


@area("create-windows", "rich")
def windows(side):
    """All of it; what a request may say, and what it may not."""
    side.put(batch("sb-other"))
    side.put(claim("owned", "sb-other"))
    side.put(POOL)
    for name, fields in ROWS.items():
        made(side, name, fields)


@area("create-windows-templated", "templated-windows")
def templated(side):
    """Over a template for Linux nodes, with a volume by the name of one of the machine's."""
    for name, fields in {
        "": {},
        "on the other processor": {"platform": {"os": "windows", "arch": "arm64"}},
        "on the other processor, with little cpu": {"platform": {"os": "windows", "arch": "arm64"}, **limits(cpu="1")},
        "with isolation": ISOLATED,
        "with credentials": {"image": {"uri": "reg.example/w:1", "auth": AUTH}},
        "without limits": {"resourceLimits": {}},
        "of Linux": {"platform": {"os": "linux", "arch": "amd64"}, "resourceLimits": {"cpu": "2"}},
    }.items():
        made(side, name, fields)


@area("create-windows-forbidden", "templated")
def forbidden(side):
    """Over a template whose container may not gain rights."""
    made(side, "that may not gain rights", {})


@area("create-windows-unallowed", "without-windows")
def unallowed(side):
    """What an operator has not allowed is refused, if it is a machine at all."""
    made(side, "", {})
    made(side, "with little cpu", limits(cpu="1"))


@area("create-windows-isolated", "isolated")
def isolated(side):
    """With a secure runtime."""
    made(side, "", {})
    made(side, "with a policy", {"networkPolicy": POLICY})


@area("create-windows-agent", "agent")
def agent(side):
    """Agent-sandboxes have none, whatever else is wrong."""
    made(side, "", {})
    made(side, "with little cpu", limits(cpu="1"))


@area("create-windows-templated-agent", "templated-agent")
def templated_agent(side):
    """Nor over a template."""
    made(side, "", {})
    made(side, "on the other processor", {"platform": {"os": "windows", "arch": "arm64"}})
