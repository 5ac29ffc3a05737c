"""Creation that the application refuses, in most cases with 400."""

from side import DROP

from . import area
from .service import ID

# Refused by the application: 400 in most cases.
CHECKS = [
    # metadata
    *(
        {"metadata": {key: "v"}}
        for key in (
            "opensandbox.io/x",
            "opensandbox.io/",
            "-a",
            "a-",
            "a b",
            "",
            "a/b/c",
            "/a",
            "a/",
            "A.b/c",
            "a..b/c",
            "a" * 64,
            "p/" + "a" * 64,
            "a" * 254 + "/b",
            "ä",
            "a\n\n",
        )
    ),
    *({"metadata": {"k": value}} for value in ("-a", "a-", "a b", "a" * 64, "ä", "a/b", ".", "a\nb")),
    {"metadata": {"ok": "v", "-bad": "v", "opensandbox.io/x": "v"}},
    # env
    *({"env": {key: "v"}} for key in ("OPENSANDBOX_EGRESS_TOKEN", "OPENSANDBOX_EGRESS_", "OPENSANDBOX_EGRESS_RULES")),
    {"env": {"OPENSANDBOX_EGRESS_TOKEN": None}},
    # extensions
    *(
        {"extensions": {"access.renew.extend.seconds": value}}
        for value in ("", " ", "abc", "299", "86401", "3600.5", "-600", "0x200", "1e3", "999999999999999999999999")
    ),
    {"extensions": {"poolRef": "p"}},
    {"extensions": {"poolRef": "p"}, "image": DROP, "entrypoint": DROP, "resourceLimits": DROP, "timeout": DROP},
    {"extensions": {"poolRef": "p", "access.renew.extend.seconds": "x"}},
    # platform
    *(
        {"platform": {"os": os, "arch": arch}}
        for os, arch in (
            ("darwin", "amd64"),
            ("linux", "mips"),
            ("", ""),
            ("darwin", "mips"),
            ("linux", "x86_64"),
            ("linux/", "amd64"),
        )
    ),
    # timeout
    {"timeout": 86401},
    {"timeout": 10**12},
    {"timeout": 2**63},
    {"timeout": 86401, "metadata": {"-": "v"}},
    # resources
    *(
        {"resourceLimits": {"memory": value}}
        for value in (
            "",
            " ",
            "0",
            "-1",
            "1.5Gi",
            "1KiB",
            "1 0Mi",
            "Mi",
            "x",
            "1Pi",
            "64MiB",
            "1e3",
            "+5Mi",
            "٣Mi",
            "9" * 100,
        )
    ),
    *(
        {"resourceLimits": {"cpu": value}}
        for value in ("", "0", "-1", "0m", "x", "m", "inf", "nan", "1u", "1 m x", "1e999", "0x1", "1,5")
    ),
    *({"resourceLimits": {"gpu": value}} for value in ("", "0", "-1", "1.5", "x", "two")),
    {"resourceLimits": {"memory": "x", "cpu": "y"}},
    # what Docker has not
    {"lifecycle": {}},
    {"lifecycle": {"preStart": {"command": ["a"], "timeoutSeconds": "5"}}},
    {"secureAccess": True},
    {"secureAccess": "yes"},
    {"image": DROP, "entrypoint": DROP, "resourceLimits": DROP, "templateId": "t"},
    {"secureAccess": True, "lifecycle": {}, "metadata": {"-": "v"}},
    # network policy without an egress image
    {"networkPolicy": {}},
    {"networkPolicy": {"defaultAction": "deny", "egress": [{"action": "allow", "target": "x"}]}},
    {"networkPolicy": {}, "credentialProxy": {"enabled": True}},
    # snapshots
    {"image": DROP, "snapshotId": ID},
    {"image": DROP, "entrypoint": DROP, "snapshotId": "nope"},
    {"image": {"uri": ""}, "snapshotId": "nope"},
    # images
    {"image": {"uri": "127.0.0.1:1/none:1"}},
    {"image": {"uri": "127.0.0.1:1/none:1", "auth": {"username": "parity-user", "password": "parity-password"}}},
    {"image": {"uri": "Not A Reference"}},
    {"image": {"uri": "UPPER/case"}},
]


@area("create-checks")
def checks(side):
    """What the application refuses."""
    for fields in CHECKS:
        side.create(**fields)
