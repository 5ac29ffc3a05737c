"""Creation that succeeds: the answer, what a later GET says, and the container on the engine."""

from configs import MARK
from side import DROP

from . import area

ROWS = [
    {},
    {"timeout": None},
    {"timeout": DROP},
    {"timeout": "3600"},
    {"timeout": 3600.0},
    {"entrypoint": ["sleep 100000"]},
    {"entrypoint": ["sh -c 'sleep 100000'"]},
    {"entrypoint": ["sh", "-c", "exec sleep 100000"]},
    {"resourceLimits": {}},
    {"resourceLimits": {"cpu": "0.25", "memory": "128m"}},
    {"resourceLimits": {"cpu": "1e0", "memory": " 64 mi "}},
    {"resourceLimits": {"cpu": ".5", "memory": "67108864", "disk": "1Gi", "x": "y"}},
    {"resourceLimits": {"cpu": "1500m", "memory": "1G"}},
    {"resourceLimits": {"memory": "100000kb"}},
    {"resourceRequests": {"cpu": "x"}},
    {
        "env": {
            "A": "1",
            "B": "",
            "C": None,
            "DROPPED": None,
            "ü": "ö",
            "OPENSANDBOX_ID": "mine",
            "PARITY": "kept",
        }
    },
    {"env": {"OPENSANDBOX_EGRESS_LOG_LEVEL": "debug", "Z": "1"}},
    {"env": {}},
    {"env": None},
    {"metadata": {"a": "b", "example.com/c": "", "d_.-D": "x_.-X"}},
    {"metadata": {}},
    {"metadata": None},
    {"metadata": {"com.docker.x": "y", "org.opencontainers.image.title": "t", "plain": "v"}},
    {"metadata": {"a": "b\n"}},
    {"platform": {"os": "linux", "arch": "amd64"}},
    {"platform": {"os": " Linux ", "arch": "AMD64"}},
    {"extensions": {"access.renew.extend.seconds": " 600 ", "opensandbox.extensions.x": "y", "other": "z"}},
    {"extensions": {"access.renew.extend.seconds": "+300"}},
    {"extensions": {"access.renew.extend.seconds": "6_00"}},
    {"extensions": {"opensandbox.extensions.": "e", "opensandbox.extensions.a.b": ""}},
    {"extensions": {}},
    {"secureAccess": False},
    {"credentialProxy": {"enabled": False}},
    {"unknown": 1, "image": {"uri": "osb-test/busybox:1", "more": 2}},
    {"image": {"uri": "osb-test/busybox:1", "auth": {"username": "u", "password": "p"}}},
    {"image": {"uri": "docker.io/osb-test/busybox:1"}},
    {"resource_limits": {"cpu": "100m"}, "resourceLimits": DROP, "snapshotId": " ", "templateId": " "},
    {"entrypoint": ["no-such-program"]},
    {"entrypoint": [""]},
    {"entrypoint": ["sh", "-c", "exit 3"]},
    {"volumes": []},
    {"volumes": None},
    {"extensions": {"bootstrap.execd.isolation": "enable"}},
    {"extensions": {"bootstrap.execd.isolation": "no"}},
]


def with_volumes():
    """Rows on volumes that are made."""
    host = {"path": f"/tmp/{MARK}"}
    yield [{"name": "v", "mountPath": "/mnt/v", "host": host}]
    yield [{"name": "v", "mountPath": "/mnt/v", "host": host, "readOnly": True, "subPath": "a/b"}]
    yield [
        {"name": "v", "mountPath": "/mnt/v", "host": {"path": f"/tmp/{MARK}-more/x"}},
        {"name": "w", "mountPath": "/mnt/w", "host": host},
    ]
    yield [
        {"name": "v", "mountPath": "/mnt/v", "pvc": {"claimName": f"{MARK}-@-a", "deleteOnSandboxTermination": True}}
    ]
    yield [
        {
            "name": "v",
            "mountPath": "/mnt/v",
            "readOnly": "yes",
            "subPath": "s",
            "pvc": {
                "claimName": f"{MARK}-@-b",
                "deleteOnSandboxTermination": True,
                "storageClass": "x",
                "storage": "1Gi",
                "accessModes": ["ReadWriteOnce"],
            },
        }
    ]


@area("objects")
def objects(side):
    """Creates, looks and deletes, row by row."""
    for fields in ROWS:
        one(side, fields)


@area("objects-volumes")
def objects_volumes(side):
    """The same with volumes. Named volumes are the server's own, so that one cannot meet the other's."""
    for row in with_volumes():
        for volume in row:
            if "pvc" in volume:
                volume["pvc"] = {**volume["pvc"], "claimName": volume["pvc"]["claimName"].replace("@", side.token)}
        one(side, {"volumes": row})


ENDS = (["no-such-program"], [""], ["sh", "-c", "exit 3"])
"""Entrypoints that end by themselves."""


def one(side, fields):
    """A sandbox from its creation to its deletion."""
    made = side.create(**fields)
    if made is None:
        return
    if fields.get("entrypoint") in ENDS:
        side.until(f"/v1/sandboxes/{made}", lambda seen: seen.get("status", {}).get("state") != "Running")
    side.look(made)
    side.get(f"/v1/sandboxes/{made}", f"get: {side.records[-2].name}")
    side.delete(f"/v1/sandboxes/{made}")
    side.get(f"/v1/sandboxes/{made}", "get after delete")
