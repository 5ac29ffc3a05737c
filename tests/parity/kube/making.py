"""Creation that succeeds: the answer, all objects that are written for it, what a later GET says, and what a deletion leaves."""

from cluster import claim
from creating import created, finished
from servers import KEY
from side import DROP

from . import TENANTS, area
from .tenants import LABEL

POLICY = {"defaultAction": "deny", "egress": [{"action": "allow", "target": "*.example.com"}]}
AUTH = {"username": "u", "password": "p"}
HOST = {"path": "/data/opensandbox/x"}
PRE = {"command": ["sh", "-c", "true"], "timeoutSeconds": 5}
PERIODIC = {"name": " a ", "schedule": "* * * * *", "command": ["x", "ü \"'"]}


def volume(name, **fields):
    """A volume."""
    return {"name": name, "mountPath": f"/mnt/{name}", **fields}


def of_claim(name, claim_name, **fields):
    """A volume of a claim."""
    more = {key: fields.pop(key) for key in ("readOnly", "subPath") if key in fields}
    return volume(name, pvc={"claimName": claim_name, **fields}, **more)


OWNED = {"deleteOnSandboxTermination": True}

PLAIN = [
    {},
    {"timeout": None},
    {"timeout": DROP, "metadata": {"a": "b"}},
    {"timeout": "3600", "resourceLimits": {}},
    {"entrypoint": ["one word with blanks"]},
    {"entrypoint": [""]},
    {"image": {"uri": "Not A Reference"}},
    {"image": {"uri": " x "}},
    # resources
    {"resourceLimits": {"memory": "1Gi"}, "resourceRequests": {"cpu": "100m"}},
    {"resourceLimits": {}, "resourceRequests": {"cpu": "100m"}},
    {"resourceLimits": {"cpu": "1"}, "resourceRequests": {}},
    {"resourceLimits": {"cpu": "1", "gpu": "2"}},
    {"resourceLimits": {"gpu": "1"}, "resourceRequests": {"gpu": "1", "cpu": "1"}},
    {"resourceLimits": {"gpu": "x", "cpu": "1"}},
    {"resourceLimits": {"gpu": "x"}},
    {"resourceLimits": {"gpu": "0"}},
    {"resourceLimits": {"gpu": "-1"}},
    {"resourceLimits": {"gpu": " 2 "}},
    {"resourceLimits": {"gpu": "1.5"}},
    {"resourceLimits": {"ephemeral-storage": "1Gi", "example.com/x": "2", "cpu": "1.5", "memory": "1e9"}},
    {"resourceLimits": {"cpu": "1"}, "resourceRequests": {"cpu": "2"}},
    # environment
    {"env": {"B": "1", "A": "", "C": None, "OPENSANDBOX_ID": "mine", "EXECD": "mine", "EXECD_INIT": "0"}},
    {"env": {"ü": "ö"}},
    {"env": {"OPENSANDBOX_EGRESS_LOG_LEVEL": "debug", "Z": "$(A) $$"}},
    {"env": {}},
    {"env": None},
    {"env": {"a b": "x", "": "y"}},
    # lifecycle
    {"lifecycle": {}},
    {"lifecycle": {"preStart": PRE}},
    {"lifecycle": {"preStart": {"command": ["a"]}, "periodic": []}},
    {"lifecycle": {"preStart": PRE, "periodic": [PERIODIC, {**PERIODIC, "name": "b", "timeoutSeconds": 300}]}},
    {"lifecycle": {"preStart": {"command": ["a"], "timeoutSeconds": "5"}}, "env": {"Z": "1"}},
    # metadata, extensions, platform
    {"metadata": {"project": "Apollo", "example.com/c": "", "d_.-D": "x_.-X"}},
    {"metadata": {}},
    {"metadata": None},
    {"metadata": {"a": "b\n"}},
    {"extensions": {"access.renew.extend.seconds": " 600 ", "opensandbox.extensions.x": "y", "other": "z"}},
    {"extensions": {"access.renew.extend.seconds": "+300"}},
    {"extensions": {"opensandbox.extensions.": "e", "opensandbox.extensions.a.b": ""}},
    {"extensions": {"opensandbox.extensions.a b/c": "any\nthing"}},
    {"extensions": {}},
    {"extensions": {"bootstrap.execd.isolation": "enable"}},
    {"extensions": {"bootstrap.execd.isolation": " enable "}},
    {"extensions": {"bootstrap.execd.isolation": "Enable"}},
    {"extensions": {"bootstrap.execd.isolation": "no"}},
    {"extensions": {"poolRef": " "}},
    {"platform": {"os": "linux", "arch": "amd64"}},
    {"platform": {"os": " Linux ", "arch": "ARM64"}},
    {"platform": {"os": "windows", "arch": "amd64"}},
    # image.auth
    *(
        {"image": {"uri": uri, "auth": AUTH}}
        for uri in (
            "reg.example/ns/py:1",
            "py:1",
            "py",
            "ns/py:1",
            "localhost/py",
            "localhost:5000/py",
            "reg.example:5000/a/b@sha256:" + "0" * 64,
            "docker.io/library/py",
            "index.docker.io/py",
            "UPPER.example/py",
        )
    ),
    {"image": {"uri": "reg.example/py", "auth": {"username": "ü:", "password": "p\"ä:\n"}}},
    {"image": {"uri": "reg.example/py", "auth": {"username": "", "password": ""}}},
    {"image": {"uri": "reg.example/py", "auth": None}},
    # the rest
    {"secureAccess": False},
    {"credentialProxy": {"enabled": False}},
    {"unknown": 1, "image": {"uri": "x", "more": 2}},
    {"resource_limits": {"cpu": "100m"}, "resourceLimits": DROP, "snapshotId": " ", "templateId": " "},
    {"volumes": []},
    {"volumes": None},
]
"""Of the plain configurations."""

RICH = [
    {},
    {"secureAccess": True},
    {"secureAccess": "yes", "networkPolicy": POLICY},
    # network policy
    {"networkPolicy": {}},
    {"networkPolicy": POLICY, "timeout": None},
    {"networkPolicy": {"default_action": "allow", "egress": [{"action": "odd", "target": "ü.example", "more": 1}], "more": 2}},
    {"networkPolicy": POLICY, "credentialProxy": {"enabled": True}},
    {"networkPolicy": POLICY, "credentialProxy": {"enabled": False}},
    {"networkPolicy": POLICY, "env": {"A": "1", "OPENSANDBOX_EGRESS_LOG_LEVEL": "debug", "OPENSANDBOX_EGRESS_POLICY_FILE": None}},
    {
        "networkPolicy": POLICY,
        "credentialProxy": {"enabled": True},
        "env": {"OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT": "false", "OPENSANDBOX_EGRESS_DENY_WEBHOOK": ""},
    },
    {"networkPolicy": POLICY, "extensions": {"bootstrap.execd.isolation": "enable"}},
    # volumes
    {"volumes": [volume("h", host=HOST)]},
    {"volumes": [volume("h", host={"path": "/data/opensandbox"}, readOnly=True, subPath="a/b")]},
    {"volumes": [volume("h", host=HOST, subPath=""), volume("i", host=HOST, subPath="./a")]},
    {"volumes": [of_claim("p", "there")]},
    {"volumes": [of_claim("p", "there", readOnly=True, subPath="s")]},
    {"volumes": [of_claim("p", "there", createIfNotExists=False)]},
    {"volumes": [of_claim("p", "there", **OWNED)]},
    {"volumes": [of_claim("p", "not-there", createIfNotExists=False)]},
    {"volumes": [of_claim("p", "made-kept")]},
    {"volumes": [of_claim("p", "made", **OWNED)]},
    {"volumes": [of_claim("p", "made", **OWNED, storage="2Gi", accessModes=["ReadWriteMany", "ReadOnlyMany"])]},
    {"volumes": [of_claim("p", "made", **OWNED, accessModes=[])]},
    {"volumes": [of_claim("p", "made", **OWNED, storageClass="fast")]},
    {"volumes": [of_claim("p", "made-kept", storageClass="fast", storage="1.5Gi")]},
    {"volumes": [of_claim("p", "made", **OWNED), of_claim("q", "made", **OWNED, readOnly=True)]},
    {"volumes": [of_claim("p", "made", **OWNED, readOnly=True), of_claim("q", "made", **OWNED, readOnly=True)]},
    {"volumes": [of_claim("p", "made", **OWNED, storage="2Gi"), of_claim("q", "made", **OWNED, storage="4Gi")]},
    {"volumes": [of_claim("p", "made-b", **OWNED), volume("h", host=HOST), of_claim("q", "made-a", **OWNED)]},
    # pools
    {"extensions": {"poolRef": "*"}, "image": DROP, "entrypoint": DROP, "resourceLimits": DROP},
    {"extensions": {"poolRef": "p1"}, "image": DROP, "resourceLimits": DROP, "entrypoint": ["sh", "-c", "echo \"a b\" 'c' $d"]},
    {"extensions": {"poolRef": " p1 "}},
    {"extensions": {"poolRef": "p1"}, "entrypoint": [""], "env": {"A": "it's", "B": None}, "timeout": None},
    {
        "extensions": {"poolRef": "p1", "opensandbox.extensions.x": "y", "access.renew.extend.seconds": "600"},
        "metadata": {"a": "b"},
        "env": {"OPENSANDBOX_EGRESS_LOG_LEVEL": "debug"},
    },
    {"extensions": {"poolRef": "p1"}, "secureAccess": True},
    {"extensions": {"poolRef": "p1", "bootstrap.execd.isolation": "enable"}, "resourceLimits": {"cpu": "lots"}},
    {"extensions": {"poolRef": "p1"}, "image": {"uri": "reg.example/x", "auth": AUTH}},
    {"extensions": {"poolRef": "p1"}, "resourceLimits": {"gpu": "all"}},
    # all at once
    {
        "image": {"uri": "reg.example/ns/py:1", "auth": AUTH},
        "platform": {"os": "linux", "arch": "arm64"},
        "entrypoint": ["sleep", "10"],
        "resourceLimits": {"cpu": "1", "memory": "1Gi", "gpu": "2"},
        "resourceRequests": {"cpu": "100m"},
        "env": {"A": "1", "B": None, "OPENSANDBOX_EGRESS_LOG_LEVEL": "debug"},
        "metadata": {"project": "Apollo"},
        "networkPolicy": POLICY,
        "credentialProxy": {"enabled": True},
        "secureAccess": True,
        "extensions": {
            "access.renew.extend.seconds": "600",
            "opensandbox.extensions.foo": "bar",
            "bootstrap.execd.isolation": "enable",
        },
        "volumes": [
            volume("h", host=HOST, subPath="a", readOnly=True),
            of_claim("p", "made", **OWNED, storage="2Gi"),
            of_claim("p2", "made", **OWNED, readOnly=True),
        ],
        "lifecycle": {"preStart": PRE, "periodic": [PERIODIC]},
    },
]
"""Of the configurations with egress, storage and an ingress gateway."""

POOL = {
    "apiVersion": "sandbox.opensandbox.io/v1alpha1",
    "kind": "Pool",
    "metadata": {"name": "p1"},
    "spec": {"template": {}, "capacitySpec": {"bufferMax": 1, "bufferMin": 0, "poolMax": 2, "poolMin": 0}},
}


@area("create")
def plain(side):
    """The rows of a plain configuration."""
    for fields in PLAIN:
        created(side, fields)
    created(side, {}, name="create at the root mount", path="/sandboxes")


@area("create-agent", "agent")
def of_agent(side):
    """Every second one of agent-sandboxes: the pod is made as that of a BatchSandbox is."""
    for fields in PLAIN[::2]:
        created(side, fields)


@area("create-rich", "rich")
def rich(side):
    """Rows with everything, on claims that are there and claims that are not."""
    side.put(claim("there", "sb-other", managed=False))
    side.put(POOL)
    for fields in RICH:
        created(side, fields)


@area("create-templated", "templated")
def templated(side):
    """Over a template."""
    rows = [row for row in PLAIN if set(row) & {"timeout", "metadata", "image", "resourceLimits", "lifecycle", "extensions"}][:12]
    for fields in (
        *rows,
        {"metadata": {"project": "mine", "of-template": "mine"}},
        {"image": {"uri": "reg.example/py", "auth": AUTH}},
        {"platform": {"os": "linux", "arch": "amd64"}},
        {"extensions": {"bootstrap.execd.isolation": "enable"}},
        {"networkPolicy": POLICY, "credentialProxy": {"enabled": True}, "env": {"A": "1"}},
        {"networkPolicy": POLICY, "extensions": {"bootstrap.execd.isolation": "enable"}},
        {"volumes": [volume("extra", host=HOST)]},
        {"volumes": [volume("h", host=HOST), of_claim("p", "made", **OWNED)]},
        {"extensions": {"poolRef": "*"}, "env": {"A": "1"}},
        {"env": {"OF_TEMPLATE": "mine"}},
        {"networkPolicy": POLICY},
        {"networkPolicy": POLICY, "env": {"OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT": "true"}},
        {"networkPolicy": POLICY, "env": {"OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT": "false"}},
    ):
        created(side, fields)


@area("create-templated-agent", "templated-agent")
def templated_agent(side):
    """Over a template of agent-sandboxes."""
    for fields in (
        {},
        {"timeout": None},
        {"metadata": {"of-template": "mine"}},
        {"image": {"uri": "reg.example/py", "auth": AUTH}},
        {"platform": {"os": "linux", "arch": "amd64"}},
        {"platform": {"os": "linux", "arch": "arm64"}},
        {"platform": {"os": "windows", "arch": "amd64"}},
        {"extensions": {"bootstrap.execd.isolation": "enable", "opensandbox.extensions.x": "y"}},
        {"networkPolicy": POLICY, "credentialProxy": {"enabled": True}, "env": {"A": "1"}},
        {"volumes": [volume("h", host=HOST), of_claim("p", "made", **OWNED)]},
        {"lifecycle": {"preStart": PRE}},
        {"extensions": {"poolRef": "*"}, "image": DROP, "entrypoint": DROP, "resourceLimits": DROP},
        {"extensions": {"poolRef": "*"}},
    ):
        created(side, fields)


@area("create-isolated", "isolated")
def isolated(side):
    """With a secure runtime."""
    for fields in (
        {},
        {"networkPolicy": POLICY},
        {"extensions": {"bootstrap.execd.isolation": "enable"}},
        {"extensions": {"poolRef": "*"}},
    ):
        created(side, fields)


@area("create-tenants", "tenants")
def of_tenants(side):
    """Each in the namespace of its tenant, with its label."""
    base = side.namespace
    for name, (place, key) in TENANTS.items():
        side.namespace = f"{base}-{place}"
        made = created(side, {"metadata": {"of": name}}, name=f"create for {name}", key=key, kept=True)
        made = made or "none"
        for other, (_, theirs) in TENANTS.items():
            side.get(f"/v1/sandboxes/{made}", f"{other}: get what {name} made", key=theirs)
        finished(side, made, f"what {name} made", key)
        row = {"image": {"uri": "reg.example/py", "auth": AUTH}, "volumes": [of_claim("p", "made", **OWNED)]}
        created(side, row, name=f"create for {name} with a secret and a claim", key=key)
    for key in ("nope", None):
        created(side, {}, name=f"create with the key {key}", key=key)
    created(side, {"metadata": {LABEL: "b"}}, name="create for another tenant", key=KEY)
