"""Creation that is refused: by the schema, by the application, by the runtime, and by the cluster."""

from areas.create_checks import CHECKS
from areas.create_schema import SCHEMA
from areas.service import ID
from cluster import batch, claim
from creating import created
from side import DROP, brief

from . import area
from .making import AUTH, HOST, OWNED, POLICY, POOL, of_claim, volume

POOLED = {"image": DROP, "entrypoint": DROP, "resourceLimits": DROP}
OSSFS = {"bucket": "abc", "endpoint": "e.example", "accessKeyId": "i", "accessKeySecret": "s"}

QUANTITIES = [
    *({"resourceLimits": {"memory": value}} for value in ("", " ", "0", "-1", "1.5Gi", "64MiB", "1e3", "9" * 100)),
    *({"resourceLimits": {"cpu": value}} for value in ("0", "0m", "x", "1u", "inf")),
    {"resourceLimits": {"cpu": "1"}, "resourceRequests": {"memory": "x"}},
    {"resourceLimits": {"-": "1"}},
]


@area("create-schema")
def schema(side):
    """What the request's schema refuses. Some of it is good on Kubernetes; an expiry in the far future has the clock's fractions."""
    for fields in SCHEMA:
        if fields.get("timeout") != 99999999999:
            created(side, fields)


@area("create-checks")
def checks(side):
    """What the application refuses on Docker, but for quantities, which are those of Kubernetes here."""
    for fields in [*(fields for fields in CHECKS if "resourceLimits" not in fields), *QUANTITIES]:
        created(side, fields)


@area("create-refused")
def refused(side):
    """What this runtime refuses without an ingress gateway, egress and storage."""
    for fields in (
        {"secureAccess": True},
        {"secureAccess": True, "metadata": {"-": "v"}},
        {"secureAccess": True, "networkPolicy": {}},
        {"networkPolicy": POLICY},
        {"networkPolicy": {}, "credentialProxy": {"enabled": True}},
        {"networkPolicy": {}, "extensions": {"poolRef": "*"}},
        {"credentialProxy": {"enabled": True}, "extensions": {"poolRef": "*"}},
        {"volumes": [volume("h", host=HOST)]},
        {"templateId": "t", "timeout": 60, **POOLED},
        {"extensions": {"poolRef": "nope"}, "metadata": {"-": "v"}},
        {"extensions": {"poolRef": "nope"}, **POOLED},
        {"extensions": {"poolRef": "Not A Name"}, **POOLED},
        {"extensions": {"poolRef": "a/b"}, **POOLED},
        {"extensions": {"poolRef": "x" * 300}, **POOLED},
        {"extensions": {"poolRef": "*"}, "platform": {"os": "linux", "arch": "amd64"}},
        {"extensions": {"poolRef": "*"}, "volumes": [volume("h", host=HOST)]},
        {"extensions": {"poolRef": "*"}, "volumes": []},
        {"extensions": {"poolRef": "*"}, "secureAccess": True},
        {"resourceLimits": {"gpu": "all"}},
        {"resourceLimits": {"gpu": " ALL "}},
        {"resourceLimits": {}, "resourceRequests": {"gpu": "all"}},
        {"resourceLimits": {"gpu": "all"}, "volumes": [of_claim("p", "made")]},
    ):
        created(side, fields)


@area("create-refused-rich", "rich")
def refused_rich(side):
    """What is refused with all of them: volumes, claims and pools."""
    side.put(batch("sb-other"))
    side.put(claim("owned", "sb-other"))
    side.put(claim("foreign", "sb-other", managed=False))
    side.put(POOL)
    twice = [of_claim("p", "made", **OWNED), of_claim("q", "made")]
    for fields in (
        *({"volumes": [volume(name, host=HOST)]} for name in ("opensandbox-bin", "isolation-upper")),
        {"volumes": [of_claim("opensandbox-bin", "made", **OWNED)]},
        {"volumes": [volume("h", host=HOST), volume("h", host=HOST, mountPath="/mnt/i")]},
        {"volumes": [volume("h", host={"path": "/etc"})]},
        {"volumes": [volume("h", host={"path": "/data/opensandbox/../etc"})]},
        {"volumes": [volume("h", host={"path": "/data/opensandbox//x"})]},
        {"volumes": [volume("h", host=HOST, subPath="../a")]},
        {"volumes": [volume("h", host=HOST, subPath="/a")]},
        {"volumes": [volume("h", ossfs=OSSFS)]},
        {"volumes": [of_claim("p", "owned", **OWNED)]},
        {"volumes": [of_claim("p", "owned")]},
        {"volumes": twice},
        {"volumes": [of_claim("p", "made", createIfNotExists=False), of_claim("q", "made")]},
        {"volumes": [of_claim("p", "made", **OWNED, createIfNotExists=False)]},
        {"volumes": [of_claim("p", "made", **OWNED, accessModes=["nope"])]},
        {"volumes": [of_claim("p", "made", **OWNED), of_claim("p2", "owned")]},
        {"env": {"OPENSANDBOX_EGRESS_TOKEN": "x"}, "networkPolicy": POLICY},
        {"resourceLimits": {"gpu": "all"}, "volumes": [of_claim("p", "made", **OWNED)]},
        {"extensions": {"poolRef": "p1"}, "networkPolicy": POLICY},
        {"extensions": {"poolRef": "p1"}, "volumes": [volume("h", host=HOST)]},
        {"extensions": {"poolRef": "p1"}, "platform": {"os": "linux", "arch": "amd64"}},
    ):
        created(side, fields)


@area("create-refused-agent", "agent")
def refused_agent(side):
    """What agent-sandboxes cannot do."""
    for fields in (
        {"platform": {"os": "windows", "arch": "amd64"}},
        {"extensions": {"poolRef": "*"}, **POOLED},
        {"extensions": {"poolRef": "nope"}},
        {"resourceLimits": {"gpu": "all"}},
        {"image": DROP, "snapshotId": ID},
    ):
        created(side, fields)


@area("create-refused-isolated", "isolated")
def refused_isolated(side):
    """What the secure runtime cannot do."""
    for fields in ({"networkPolicy": POLICY}, {"networkPolicy": {}}, {"networkPolicy": POLICY, "secureAccess": True}):
        created(side, fields)


@area("create-platform", "templated-agent")
def platform(side):
    """Platforms that the template's node selector contradicts."""
    for fields in ({"platform": {"os": "linux", "arch": "arm64"}}, {"platform": {"os": "linux", "arch": "amd64"}}):
        created(side, fields)


@area("create-faults", "rich")
def faults(side):
    """A cluster that refuses a step of the creation. `missing` and `quota` are 404 and 403 in the words of the API server."""
    with_claim = {"volumes": [of_claim("p", "made", **OWNED)]}
    with_secret = {"image": {"uri": "reg.example/py", "auth": AUTH}, **with_claim}
    for status in ("quota", "403", "missing", "409", "422", "429", "500", "503", "html"):
        for method, text, fields in (
            ("POST", "batchsandboxes", with_claim),
            ("POST", "secrets", with_secret),
            ("GET", "persistentvolumeclaims/made", with_claim),
            ("POST", "persistentvolumeclaims", with_claim),
            # A name of its own for each: what is known is not asked for again.
            ("GET", f"pools/no-{status}", {"extensions": {"poolRef": f"no-{status}"}}),
        ):
            side.fault(method, text, status, 99)
            created(side, fields, name=f"{method} {text} against {status}: create {brief(fields)[:40]}")
            side.heal(text)
