"""Sandboxes with a network policy: the sidecar on the engine, and the ways to its policy."""

import engine

from . import area

POLICY = {"defaultAction": "deny", "egress": [{"action": "allow", "target": "a.example"}]}
ROWS = [
    {"networkPolicy": POLICY},
    {
        "networkPolicy": {"egress": []},
        "metadata": {"a": "b"},
        "env": {"OPENSANDBOX_EGRESS_LOG_LEVEL": "debug", "A": "1"},
    },
    {
        "networkPolicy": {
            "defaultAction": "allow",
            "default_action": "deny",
            "egress": [{"action": "odd", "target": "*.x.example", "more": 1}],
        },
        "timeout": None,
    },
]


@area("egress", config="egress")
def egress(side):
    """One sandbox for each form of a policy."""
    for row in ROWS:
        made = side.create(**row)
        if made is None:
            continue
        sidecar = learn(side, made)
        side.look(made)
        side.note(f"sidecar of {side.records[-2].name}", engine.part_of(sidecar))
        one(side, made)
        side.note("what is left of it", left(made))


def learn(side, made):
    """Names the sidecar's token and container, which are chance."""
    sidecar = f"sandbox-egress-{made}"
    seen = engine.look(sidecar)
    for entry in seen["Config"]["Env"]:
        name, _, value = entry.partition("=")
        if name == "OPENSANDBOX_EGRESS_TOKEN":
            side.names.learn(value, "<egress token>")
    return sidecar


def one(side, made):
    """Endpoints, the policy, pause and resume, diagnostics, delete."""
    path = f"/v1/sandboxes/{made}"
    side.get(path)
    for port in (8080, 44772, 18080, 3000):
        side.get(f"{path}/endpoints/{port}")
    side.get(f"{path}/endpoints/18080?use_server_proxy=true")
    policy = f"{path}/networkpolicy"
    side.get(policy, headers=[("OPENSANDBOX-EGRESS-AUTH", "wrong")])
    side.ask(None, "PUT", policy, json_body=POLICY)
    side.get(policy, "the policy after PUT")
    side.ask(None, "PATCH", policy, json_body=[{"action": "deny", "target": "b.example"}])
    side.ask(None, "DELETE", policy, json_body=["b.example"])
    side.get(policy, "the policy after all")
    side.get(f"{path}/proxy/18080/healthz")
    side.get(f"{path}/proxy/18080/policy")
    side.ask(None, "POST", f"{path}/pause")
    side.note("the sidecar while paused", {"state": engine.look(f"sandbox-egress-{made}")["State"]["Status"]})
    side.ask(None, "POST", f"{path}/resume")
    side.get(f"{path}/diagnostics/inspect")
    side.delete(path)


def left(made):
    """The names of what is still there of a sandbox."""
    found = engine.docker("ps", "-a", "--format", "{{.Names}}") + engine.docker("volume", "ls", "-q")
    return {"names": [name for name in found.split() if made in name]}
