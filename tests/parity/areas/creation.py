"""Creation that is refused: the schema's rules (422), the application's (400), in their order."""

from side import DROP

from . import area
from .service import ID

IMAGE = {"uri": "osb-test/busybox:1"}

# Each row: the fields that are put over a request that would do.
SCHEMA = [
    # image
    {"image": {}}, {"image": "x"}, {"image": []}, {"image": None}, {"image": DROP}, {"image": {"uri": 1}}, {"image": {"uri": None}}, {"image": {"uri": ""}}, {"image": {"uri": "   "}},
    {"image": {"uri": "x", "auth": {}}}, {"image": {"uri": "x", "auth": "a"}}, {"image": {"uri": "x", "auth": {"username": "u"}}}, {"image": {"uri": "x", "auth": {"username": 1, "password": 2}}}, {"image": {"uri": "x", "auth": {"username": "u", "password": None}}},
    # snapshotId
    {"snapshotId": "s"}, {"snapshotId": 1}, {"snapshotId": ""}, {"image": DROP, "snapshotId": " "}, {"image": DROP, "snapshotId": []},
    # entrypoint
    {"entrypoint": DROP}, {"entrypoint": []}, {"entrypoint": "a"}, {"entrypoint": [1]}, {"entrypoint": ["a", None]}, {"entrypoint": {}}, {"entrypoint": None}, {"entrypoint": [["a"]]},
    # resourceLimits
    {"resourceLimits": DROP}, {"resourceLimits": None}, {"resourceLimits": []}, {"resourceLimits": "x"}, {"resourceLimits": {"cpu": 1}}, {"resourceLimits": {"cpu": None}}, {"resourceLimits": {"cpu": True, "memory": 2}}, {"resourceRequests": {"cpu": 1}}, {"resourceRequests": []},
    # timeout
    *({"timeout": value} for value in (59, 0, -1, "abc", "59", "3600.5", 3600.5, 61.0 - 2, "", " ", [], {}, True, False, 1e400 if False else 1e30, "1_0", "0x40", " 59 ", 86401, 99999999999, 10**18)),
    # env
    {"env": []}, {"env": "x"}, {"env": {"A": 1}}, {"env": {"A": True}}, {"env": {"A": ["x"]}}, {"env": {"OPENSANDBOX_LIFECYCLE": "x"}}, {"env": {"OPENSANDBOX_LIFECYCLE": None}}, {"env": {"A": 1, "OPENSANDBOX_LIFECYCLE": "x"}},
    # metadata
    {"metadata": []}, {"metadata": {"a": 1}}, {"metadata": {"a": None}}, {"metadata": "x"},
    # platform
    {"platform": {}}, {"platform": "linux"}, {"platform": {"os": "linux"}}, {"platform": {"arch": "amd64"}}, {"platform": {"os": 1, "arch": 2}}, {"platform": []},
    # lifecycle
    {"lifecycle": "x"}, {"lifecycle": {"x": 1}}, {"lifecycle": {"preStart": {}}}, {"lifecycle": {"preStart": {"command": []}}}, {"lifecycle": {"preStart": {"command": [" "]}}}, {"lifecycle": {"preStart": {"command": ["a"], "timeoutSeconds": 0}}}, {"lifecycle": {"preStart": {"command": ["a"], "timeoutSeconds": 10801}}}, {"lifecycle": {"preStart": {"command": ["a"], "z": 1}}}, {"lifecycle": {"preStart": {"command": "a"}}},
    {"lifecycle": {"periodic": {}}}, {"lifecycle": {"periodic": [{}]}}, {"lifecycle": {"periodic": [{"name": " ", "schedule": "x", "command": ["a"]}]}}, {"lifecycle": {"periodic": [{"name": "", "schedule": "", "command": ["a"]}]}}, {"lifecycle": {"periodic": [{"name": "n", "schedule": " ", "command": ["a"]}]}}, {"lifecycle": {"periodic": [{"name": "n", "schedule": "s", "command": [" "]}]}}, {"lifecycle": {"preStart": {"command": [" "]}, "periodic": [{"name": " ", "schedule": " ", "command": [" "]}]}}, {"lifecycle": {"periodic": [{"name": "n", "schedule": "x", "command": ["a"], "timeoutSeconds": 301}]}}, {"lifecycle": {"periodic": [{"name": "n", "schedule": "x", "command": ["a"]}, {"name": " n ", "schedule": "x", "command": ["a"]}]}}, {"lifecycle": {"periodic": [{"name": "n", "schedule": "x", "command": ["a"], "extra": 1}]}},
    # networkPolicy, credentialProxy, secureAccess
    {"networkPolicy": []}, {"networkPolicy": {"egress": {}}}, {"networkPolicy": {"egress": [{}]}}, {"networkPolicy": {"egress": [{"action": "allow", "target": ""}]}}, {"networkPolicy": {"egress": [{"action": 1, "target": "x"}]}}, {"networkPolicy": {"defaultAction": 1}}, {"networkPolicy": "x"},
    {"credentialProxy": {"enabled": True}}, {"credentialProxy": {"enabled": "maybe"}}, {"credentialProxy": True}, {"credentialProxy": {"enabled": "on"}}, {"secureAccess": "perhaps"}, {"secureAccess": None}, {"secureAccess": 2}, {"secureAccess": {}},
    # volumes
    {"volumes": {}}, {"volumes": "x"}, {"volumes": [{}]}, {"volumes": ["x"]}, {"volumes": [{"name": "a", "mountPath": "/a"}]},
    {"volumes": [{"name": "a", "mountPath": "/a", "host": {"path": "/x"}, "pvc": {"claimName": "c"}}]},
    {"volumes": [{"name": "A", "mountPath": "/a", "host": {"path": "/x"}}]}, {"volumes": [{"name": "a" * 64, "mountPath": "/a", "host": {"path": "/x"}}]}, {"volumes": [{"name": "a-", "mountPath": "/a", "host": {"path": "/x"}}]},
    {"volumes": [{"name": "a", "mountPath": "a", "host": {"path": "/x"}}]}, {"volumes": [{"name": "a", "mountPath": "", "host": {"path": "/x"}}]}, {"volumes": [{"name": "a", "mountPath": "/a", "host": {"path": "x"}}]}, {"volumes": [{"name": "a", "mountPath": "/a", "host": {}}]}, {"volumes": [{"name": "a", "mountPath": "/a", "readOnly": "so", "host": {"path": "/x"}}]}, {"volumes": [{"name": "a", "mountPath": "/a", "subPath": 1, "host": {"path": "/x"}}]},
    {"volumes": [{"name": "a", "mountPath": "/a", "pvc": {}}]}, {"volumes": [{"name": "a", "mountPath": "/a", "pvc": {"claimName": "X"}}]}, {"volumes": [{"name": "a", "mountPath": "/a", "pvc": {"claimName": "x" * 254}}]}, {"volumes": [{"name": "a", "mountPath": "/a", "pvc": {"claimName": "x", "storage": "1G"}}]}, {"volumes": [{"name": "a", "mountPath": "/a", "pvc": {"claimName": "x", "accessModes": "x"}}]}, {"volumes": [{"name": "a", "mountPath": "/a", "pvc": {"claimName": "x", "createIfNotExists": "?"}}]},
    {"volumes": [{"name": "a", "mountPath": "/a", "ossfs": {}}]}, {"volumes": [{"name": "a", "mountPath": "/a", "ossfs": {"bucket": "ab", "endpoint": "", "accessKeyId": "", "accessKeySecret": ""}}]}, {"volumes": [{"name": "a", "mountPath": "/a", "ossfs": {"bucket": "abc", "endpoint": "e"}}]}, {"volumes": [{"name": "a", "mountPath": "/a", "ossfs": {"bucket": "abc", "endpoint": "e", "accessKeyId": "i"}}]}, {"volumes": [{"name": "a", "mountPath": "/a", "ossfs": {"bucket": "abc", "endpoint": "e", "version": "3.0", "accessKeyId": "i", "accessKeySecret": "s"}}]}, {"volumes": [{"name": "a", "mountPath": "/a", "ossfs": {"bucket": "a" * 64, "endpoint": "e", "options": "x", "accessKeyId": "i", "accessKeySecret": "s"}}]},
    # extensions
    {"extensions": []}, {"extensions": {"a": 1}}, {"extensions": {"a": None}}, {"extensions": "x"},
    # templateId, poolRef
    {"templateId": "t"}, {"templateId": ""}, {"templateId": 1}, {"image": DROP, "entrypoint": DROP, "resourceLimits": DROP, "templateId": "t", "timeout": None}, {"image": DROP, "entrypoint": DROP, "resourceLimits": DROP, "templateId": "t", "env": {}, "secureAccess": True}, {"image": DROP, "entrypoint": DROP, "resourceLimits": DROP, "templateId": "t", "volumes": [], "secureAccess": False},
    {"extensions": {"poolRef": "p"}, "lifecycle": {}}, {"extensions": {"poolRef": "p"}, "snapshotId": "s"}, {"extensions": {"poolRef": " "}, "resourceLimits": DROP},
    # several at once
    {"image": {"uri": 1}, "timeout": 1, "metadata": [], "env": {"A": 2}, "volumes": [{}]}, {"entrypoint": DROP, "resourceLimits": DROP}, {"image": DROP, "entrypoint": DROP, "resourceLimits": DROP},
    # snake case
    {"resource_limits": {}, "resourceLimits": DROP, "timeout": 1}, {"snapshot_id": "s"}, {"network_policy": []}, {"secure_access": "q"}, {"credential_proxy": 1}, {"template_id": "t"}, {"resource_requests": []},
    {"volumes": [{"name": "a", "mount_path": "a", "read_only": "q", "sub_path": 2, "pvc": {"claim_name": "X"}}]},
]

# Refused by the application: 400 in most cases.
CHECKS = [
    # metadata
    *({"metadata": {key: "v"}} for key in ("opensandbox.io/x", "opensandbox.io/", "-a", "a-", "a b", "", "a/b/c", "/a", "a/", "A.b/c", "a..b/c", "a" * 64, "p/" + "a" * 64, "a" * 254 + "/b", "ä", "a\n\n")),
    *({"metadata": {"k": value}} for value in ("-a", "a-", "a b", "a" * 64, "ä", "a/b", ".", "a\nb")),
    {"metadata": {"ok": "v", "-bad": "v", "opensandbox.io/x": "v"}},
    # env
    *({"env": {key: "v"}} for key in ("OPENSANDBOX_EGRESS_TOKEN", "OPENSANDBOX_EGRESS_", "OPENSANDBOX_EGRESS_RULES")), {"env": {"OPENSANDBOX_EGRESS_TOKEN": None}},
    # extensions
    *({"extensions": {"access.renew.extend.seconds": value}} for value in ("", " ", "abc", "299", "86401", "3600.5", "-600", "0x200", "1e3", "999999999999999999999999")),
    {"extensions": {"poolRef": "p"}}, {"extensions": {"poolRef": "p"}, "image": DROP, "entrypoint": DROP, "resourceLimits": DROP, "timeout": DROP}, {"extensions": {"poolRef": "p", "access.renew.extend.seconds": "x"}},
    # platform
    *({"platform": {"os": os, "arch": arch}} for os, arch in (("darwin", "amd64"), ("linux", "mips"), ("", ""), ("darwin", "mips"), ("linux", "x86_64"), ("linux/", "amd64"))),
    # timeout
    {"timeout": 86401}, {"timeout": 10**12}, {"timeout": 2**63}, {"timeout": 86401, "metadata": {"-": "v"}},
    # resources
    *({"resourceLimits": {"memory": value}} for value in ("", " ", "0", "-1", "1.5Gi", "1KiB", "1 0Mi", "Mi", "x", "1Pi", "64MiB", "1e3", "+5Mi", "٣Mi", "9" * 100)),
    *({"resourceLimits": {"cpu": value}} for value in ("", "0", "-1", "0m", "x", "m", "inf", "nan", "1u", "1 m x", "1e999", "0x1", "1,5")),
    *({"resourceLimits": {"gpu": value}} for value in ("", "0", "-1", "1.5", "x", "two")),
    {"resourceLimits": {"memory": "x", "cpu": "y"}},
    # what Docker has not
    {"lifecycle": {}}, {"lifecycle": {"preStart": {"command": ["a"], "timeoutSeconds": "5"}}}, {"secureAccess": True}, {"secureAccess": "yes"}, {"image": DROP, "entrypoint": DROP, "resourceLimits": DROP, "templateId": "t"}, {"secureAccess": True, "lifecycle": {}, "metadata": {"-": "v"}},
    # network policy without an egress image
    {"networkPolicy": {}}, {"networkPolicy": {"defaultAction": "deny", "egress": [{"action": "allow", "target": "x"}]}}, {"networkPolicy": {}, "credentialProxy": {"enabled": True}},
    # snapshots
    {"image": DROP, "snapshotId": ID}, {"image": DROP, "entrypoint": DROP, "snapshotId": "nope"}, {"image": {"uri": ""}, "snapshotId": "nope"},
    # images
    {"image": {"uri": "127.0.0.1:1/none:1"}}, {"image": {"uri": "127.0.0.1:1/none:1", "auth": {"username": "parity-user", "password": "parity-password"}}}, {"image": {"uri": "Not A Reference"}}, {"image": {"uri": "UPPER/case"}},
]


def volume(**fields):
    """A volume with these fields."""
    return {"name": "v", "mountPath": "/mnt/v", **fields}


def volumes():
    """Rows on volumes; those with the run's mark would be allowed but for what is wrong."""
    from configs import MARK

    allowed = f"/tmp/{MARK}"
    host = lambda path, **more: [volume(host={"path": path}, **more)]  # noqa: E731
    oss = {"bucket": "abc", "endpoint": "e.example", "accessKeyId": "i", "accessKeySecret": "s"}
    yield from [host("/etc"), host("/"), host(f"{allowed}x"), host(f"{allowed}/../etc"), host(f"{allowed}/..foo"), host(f"{allowed}//a"), host(f"{allowed}/"), host("/tmp"), host("C:\\x"), host("c:/x"), host(f"{allowed}/a/.."), host(f"{allowed}/./a")]
    yield from [host(allowed, subPath="/a"), host(allowed, subPath="../a"), host(allowed, subPath="a/../../b"), host(allowed, subPath="a/.."), host(allowed, subPath="")]
    yield [volume(host={"path": allowed}), volume(host={"path": allowed}, mountPath="/mnt/w")]
    yield [volume(pvc={"claimName": f"{MARK.lower()}-none", "createIfNotExists": False})]
    yield [volume(pvc={"claimName": f"{MARK}-x"}, subPath="../a")]
    yield [volume(ossfs={**oss, "bucket": "   "})]
    yield [volume(ossfs={**oss, "endpoint": " "})]
    yield [volume(ossfs={**oss, "options": [" "]})]
    yield [volume(ossfs={**oss, "options": ["-o"]})]
    yield [volume(ossfs={**oss, "options": ["a;b"]})]
    yield [volume(ossfs={**oss, "endpoint": "e;x"})]
    yield [volume(ossfs={**oss, "bucket": "A_B"})]
    yield [volume(ossfs=oss, subPath="a|b")]


@area("create-schema")
def schema(side):
    """What the request's schema refuses."""
    for fields in SCHEMA:
        side.create(**fields)
    side.create("a request at the root mount", path="/sandboxes", timeout=1)


@area("create-checks")
def checks(side):
    """What the application refuses."""
    for fields in CHECKS:
        side.create(**fields)


@area("create-volumes")
def create_volumes(side):
    """Volumes that are refused."""
    for row in volumes():
        side.create(volumes=row)


@area("create-lost", config="lost")
def lost(side):
    """Creation where the configured network does not exist."""
    for fields in ({}, {"networkPolicy": {}}, {"metadata": {"-": "v"}}, {"resourceLimits": {"cpu": "x"}}, {"platform": {"os": "x", "arch": "y"}}, {"image": {"uri": "127.0.0.1:1/none:1"}}, {"volumes": [volume(host={"path": "/tmp"})]}):
        side.create(**fields)
    side.get(f"/v1/sandboxes/{ID}")


@area("create-strict", config="strict")
def strict(side):
    """Creation with an egress image that cannot be had, and with other knobs of the configuration."""
    policy = {"defaultAction": "deny", "egress": [{"action": "allow", "target": "a.example"}]}
    side.create(networkPolicy=policy)
    side.create(networkPolicy=policy, credentialProxy={"enabled": True})
    side.create(networkPolicy={}, env={"OPENSANDBOX_EGRESS_LOG_LEVEL": "debug"})
    side.create("a sandbox with other knobs", inspect=True)


@area("create-host", config="host")
def on_host(side):
    """Creation on the host's network."""
    side.create(networkPolicy={})
    made = side.create("a sandbox on the host's network", inspect=True)
    for query in ("", "?use_server_proxy=true", "?expires=1"):
        for port in (8080, 44772, 18080, 1234):
            side.get(f"/v1/sandboxes/{made}/endpoints/{port}{query}")
    side.get(f"/sandboxes/{made}/endpoints/80?use_server_proxy=1")
    side.get(f"/v1/sandboxes/{made}/diagnostics/inspect")
    side.get(f"/v1/sandboxes/{made}", "get it, without any key")
    side.get(f"/v1/sandboxes/{made}", "get it, with some key", key="whatever")
