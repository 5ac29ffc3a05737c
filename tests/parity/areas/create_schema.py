"""Creation that the request's schema refuses (422)."""

from side import DROP

from . import area

# Each row: the fields that are put over a request that would do.
SCHEMA = [
    # image
    {"image": {}},
    {"image": "x"},
    {"image": []},
    {"image": None},
    {"image": DROP},
    {"image": {"uri": 1}},
    {"image": {"uri": None}},
    {"image": {"uri": ""}},
    {"image": {"uri": "   "}},
    {"image": {"uri": "x", "auth": {}}},
    {"image": {"uri": "x", "auth": "a"}},
    {"image": {"uri": "x", "auth": {"username": "u"}}},
    {"image": {"uri": "x", "auth": {"username": 1, "password": 2}}},
    {"image": {"uri": "x", "auth": {"username": "u", "password": None}}},
    # snapshotId
    {"snapshotId": "s"},
    {"snapshotId": 1},
    {"snapshotId": ""},
    {"image": DROP, "snapshotId": " "},
    {"image": DROP, "snapshotId": []},
    # entrypoint
    {"entrypoint": DROP},
    {"entrypoint": []},
    {"entrypoint": "a"},
    {"entrypoint": [1]},
    {"entrypoint": ["a", None]},
    {"entrypoint": {}},
    {"entrypoint": None},
    {"entrypoint": [["a"]]},
    # resourceLimits
    {"resourceLimits": DROP},
    {"resourceLimits": None},
    {"resourceLimits": []},
    {"resourceLimits": "x"},
    {"resourceLimits": {"cpu": 1}},
    {"resourceLimits": {"cpu": None}},
    {"resourceLimits": {"cpu": True, "memory": 2}},
    {"resourceRequests": {"cpu": 1}},
    {"resourceRequests": []},
    # timeout
    *(
        {"timeout": value}
        for value in (
            59,
            0,
            -1,
            "abc",
            "59",
            "3600.5",
            3600.5,
            61.0 - 2,
            "",
            " ",
            [],
            {},
            True,
            False,
            1e400 if False else 1e30,
            "1_0",
            "0x40",
            " 59 ",
            86401,
            99999999999,
            10**18,
        )
    ),
    # env
    {"env": []},
    {"env": "x"},
    {"env": {"A": 1}},
    {"env": {"A": True}},
    {"env": {"A": ["x"]}},
    {"env": {"OPENSANDBOX_LIFECYCLE": "x"}},
    {"env": {"OPENSANDBOX_LIFECYCLE": None}},
    {"env": {"A": 1, "OPENSANDBOX_LIFECYCLE": "x"}},
    # metadata
    {"metadata": []},
    {"metadata": {"a": 1}},
    {"metadata": {"a": None}},
    {"metadata": "x"},
    # platform
    {"platform": {}},
    {"platform": "linux"},
    {"platform": {"os": "linux"}},
    {"platform": {"arch": "amd64"}},
    {"platform": {"os": 1, "arch": 2}},
    {"platform": []},
    # lifecycle
    {"lifecycle": "x"},
    {"lifecycle": {"x": 1}},
    {"lifecycle": {"preStart": {}}},
    {"lifecycle": {"preStart": {"command": []}}},
    {"lifecycle": {"preStart": {"command": [" "]}}},
    {"lifecycle": {"preStart": {"command": ["a"], "timeoutSeconds": 0}}},
    {"lifecycle": {"preStart": {"command": ["a"], "timeoutSeconds": 10801}}},
    {"lifecycle": {"preStart": {"command": ["a"], "z": 1}}},
    {"lifecycle": {"preStart": {"command": "a"}}},
    {"lifecycle": {"periodic": {}}},
    {"lifecycle": {"periodic": [{}]}},
    {"lifecycle": {"periodic": [{"name": " ", "schedule": "x", "command": ["a"]}]}},
    {"lifecycle": {"periodic": [{"name": "", "schedule": "", "command": ["a"]}]}},
    {"lifecycle": {"periodic": [{"name": "n", "schedule": " ", "command": ["a"]}]}},
    {"lifecycle": {"periodic": [{"name": "n", "schedule": "s", "command": [" "]}]}},
    {"lifecycle": {"preStart": {"command": [" "]}, "periodic": [{"name": " ", "schedule": " ", "command": [" "]}]}},
    {"lifecycle": {"periodic": [{"name": "n", "schedule": "x", "command": ["a"], "timeoutSeconds": 301}]}},
    {
        "lifecycle": {
            "periodic": [
                {"name": "n", "schedule": "x", "command": ["a"]},
                {"name": " n ", "schedule": "x", "command": ["a"]},
            ]
        }
    },
    {"lifecycle": {"periodic": [{"name": "n", "schedule": "x", "command": ["a"], "extra": 1}]}},
    # networkPolicy, credentialProxy, secureAccess
    {"networkPolicy": []},
    {"networkPolicy": {"egress": {}}},
    {"networkPolicy": {"egress": [{}]}},
    {"networkPolicy": {"egress": [{"action": "allow", "target": ""}]}},
    {"networkPolicy": {"egress": [{"action": 1, "target": "x"}]}},
    {"networkPolicy": {"defaultAction": 1}},
    {"networkPolicy": "x"},
    {"credentialProxy": {"enabled": True}},
    {"credentialProxy": {"enabled": "maybe"}},
    {"credentialProxy": True},
    {"credentialProxy": {"enabled": "on"}},
    {"secureAccess": "perhaps"},
    {"secureAccess": None},
    {"secureAccess": 2},
    {"secureAccess": {}},
    # volumes
    {"volumes": {}},
    {"volumes": "x"},
    {"volumes": [{}]},
    {"volumes": ["x"]},
    {"volumes": [{"name": "a", "mountPath": "/a"}]},
    {"volumes": [{"name": "a", "mountPath": "/a", "host": {"path": "/x"}, "pvc": {"claimName": "c"}}]},
    {"volumes": [{"name": "A", "mountPath": "/a", "host": {"path": "/x"}}]},
    {"volumes": [{"name": "a" * 64, "mountPath": "/a", "host": {"path": "/x"}}]},
    {"volumes": [{"name": "a-", "mountPath": "/a", "host": {"path": "/x"}}]},
    {"volumes": [{"name": "a", "mountPath": "a", "host": {"path": "/x"}}]},
    {"volumes": [{"name": "a", "mountPath": "", "host": {"path": "/x"}}]},
    {"volumes": [{"name": "a", "mountPath": "/a", "host": {"path": "x"}}]},
    {"volumes": [{"name": "a", "mountPath": "/a", "host": {}}]},
    {"volumes": [{"name": "a", "mountPath": "/a", "readOnly": "so", "host": {"path": "/x"}}]},
    {"volumes": [{"name": "a", "mountPath": "/a", "subPath": 1, "host": {"path": "/x"}}]},
    {"volumes": [{"name": "a", "mountPath": "/a", "pvc": {}}]},
    {"volumes": [{"name": "a", "mountPath": "/a", "pvc": {"claimName": "X"}}]},
    {"volumes": [{"name": "a", "mountPath": "/a", "pvc": {"claimName": "x" * 254}}]},
    {"volumes": [{"name": "a", "mountPath": "/a", "pvc": {"claimName": "x", "storage": "1G"}}]},
    {"volumes": [{"name": "a", "mountPath": "/a", "pvc": {"claimName": "x", "accessModes": "x"}}]},
    {"volumes": [{"name": "a", "mountPath": "/a", "pvc": {"claimName": "x", "createIfNotExists": "?"}}]},
    {"volumes": [{"name": "a", "mountPath": "/a", "ossfs": {}}]},
    {
        "volumes": [
            {
                "name": "a",
                "mountPath": "/a",
                "ossfs": {"bucket": "ab", "endpoint": "", "accessKeyId": "", "accessKeySecret": ""},
            }
        ]
    },
    {"volumes": [{"name": "a", "mountPath": "/a", "ossfs": {"bucket": "abc", "endpoint": "e"}}]},
    {"volumes": [{"name": "a", "mountPath": "/a", "ossfs": {"bucket": "abc", "endpoint": "e", "accessKeyId": "i"}}]},
    {
        "volumes": [
            {
                "name": "a",
                "mountPath": "/a",
                "ossfs": {
                    "bucket": "abc",
                    "endpoint": "e",
                    "version": "3.0",
                    "accessKeyId": "i",
                    "accessKeySecret": "s",
                },
            }
        ]
    },
    {
        "volumes": [
            {
                "name": "a",
                "mountPath": "/a",
                "ossfs": {
                    "bucket": "a" * 64,
                    "endpoint": "e",
                    "options": "x",
                    "accessKeyId": "i",
                    "accessKeySecret": "s",
                },
            }
        ]
    },
    # extensions
    {"extensions": []},
    {"extensions": {"a": 1}},
    {"extensions": {"a": None}},
    {"extensions": "x"},
    # templateId, poolRef
    {"templateId": "t"},
    {"templateId": ""},
    {"templateId": 1},
    {"image": DROP, "entrypoint": DROP, "resourceLimits": DROP, "templateId": "t", "timeout": None},
    {"image": DROP, "entrypoint": DROP, "resourceLimits": DROP, "templateId": "t", "env": {}, "secureAccess": True},
    {
        "image": DROP,
        "entrypoint": DROP,
        "resourceLimits": DROP,
        "templateId": "t",
        "volumes": [],
        "secureAccess": False,
    },
    {"extensions": {"poolRef": "p"}, "lifecycle": {}},
    {"extensions": {"poolRef": "p"}, "snapshotId": "s"},
    {"extensions": {"poolRef": " "}, "resourceLimits": DROP},
    # several at once
    {"image": {"uri": 1}, "timeout": 1, "metadata": [], "env": {"A": 2}, "volumes": [{}]},
    {"entrypoint": DROP, "resourceLimits": DROP},
    {"image": DROP, "entrypoint": DROP, "resourceLimits": DROP},
    # snake case
    {"resource_limits": {}, "resourceLimits": DROP, "timeout": 1},
    {"snapshot_id": "s"},
    {"network_policy": []},
    {"secure_access": "q"},
    {"credential_proxy": 1},
    {"template_id": "t"},
    {"resource_requests": []},
    {"volumes": [{"name": "a", "mount_path": "a", "read_only": "q", "sub_path": 2, "pvc": {"claim_name": "X"}}]},
]


@area("create-schema")
def schema(side):
    """What the request's schema refuses."""
    for fields in SCHEMA:
        side.create(**fields)
    side.create("a request at the root mount", path="/sandboxes", timeout=1)
