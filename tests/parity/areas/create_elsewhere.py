"""Creation with volumes that are refused, and under other configurations."""

from configs import MARK

from . import area
from .service import ID


def volume(**fields):
    """A volume with these fields."""
    return {"name": "v", "mountPath": "/mnt/v", **fields}


def volumes():
    """Rows on volumes; those with the run's mark would be allowed but for what is wrong."""
    allowed = f"/tmp/{MARK}"
    host = lambda path, **more: [volume(host={"path": path}, **more)]  # noqa: E731
    oss = {"bucket": "abc", "endpoint": "e.example", "accessKeyId": "i", "accessKeySecret": "s"}
    yield from [
        host("/etc"),
        host("/"),
        host(f"{allowed}x"),
        host(f"{allowed}/../etc"),
        host(f"{allowed}/..foo"),
        host(f"{allowed}//a"),
        host(f"{allowed}/"),
        host("/tmp"),
        host("C:\\x"),
        host("c:/x"),
        host(f"{allowed}/a/.."),
        host(f"{allowed}/./a"),
    ]
    yield from [
        host(allowed, subPath="/a"),
        host(allowed, subPath="../a"),
        host(allowed, subPath="a/../../b"),
        host(allowed, subPath="a/.."),
        host(allowed, subPath=""),
    ]
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


@area("create-volumes")
def create_volumes(side):
    """Volumes that are refused."""
    for row in volumes():
        side.create(volumes=row)


@area("create-lost", config="lost")
def lost(side):
    """Creation where the configured network does not exist."""
    for fields in (
        {},
        {"networkPolicy": {}},
        {"metadata": {"-": "v"}},
        {"resourceLimits": {"cpu": "x"}},
        {"platform": {"os": "x", "arch": "y"}},
        {"image": {"uri": "127.0.0.1:1/none:1"}},
        {"volumes": [volume(host={"path": "/tmp"})]},
    ):
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
