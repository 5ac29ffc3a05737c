"""Endpoints in all modes, the proxy and the diagnostics."""

from cluster import agent, batch, event, pod

from . import area

SIGNED = 1900000000
TOKEN = "KlgBdNq1gynMaQDWH76dA-tF5VNoFBKK"


def endpoints(side, make):
    """All forms of endpoints."""
    kind = "BatchSandbox" if make is batch else "Sandbox"
    secure = {"annotations": {"opensandbox.io/secure-access-token": TOKEN, "opensandbox.io/egress-auth-token": "e-token"}}
    side.put(make("sb-1"))
    side.put(make("sb-secure", metadata=secure))
    waiting = make("sb-waiting", metadata={"annotations": None})
    waiting["status"] = {**waiting["status"], "podIPs": [], "serviceFQDN": ""} if make is agent else waiting["status"]
    side.put(waiting)
    side.put(make("sb-six", metadata={"annotations": {"sandbox.opensandbox.io/endpoints": '["fd00::1","10.0.0.1"]'}}))
    if make is agent:
        for name in ("sb-1", "sb-secure"):
            side.put(pod(name, name))
            side.cluster.tell(f"run {side.namespace} {name} 127.0.0.1")
    side.settle(kind)
    for name in ("sb-1", "sb-secure", "sb-waiting", "sb-six", "nope"):
        path = f"/v1/sandboxes/{name}/endpoints"
        for port in (8080, 18080, 44772):
            side.get(f"{path}/{port}")
            side.get(f"{path}/{port}?use_server_proxy=true")
        side.get(f"{path}/8080?expires={SIGNED}")
        side.get(f"{path}/8080?expires={SIGNED}&use_server_proxy=true")
    path = "/v1/sandboxes/sb-1/endpoints"
    for port in ("0", "65535", "65536", "-1", "x"):
        side.get(f"{path}/{port}")
    for expires in ("1", "-1", "x", "18446744073709551615", "18446744073709551616", "99999999999999999999", "1.5", ""):
        side.get(f"{path}/8080?expires={expires}")
        side.get(f"/v1/sandboxes/nope/endpoints/0?expires={expires}")
    side.get(f"{path}/18080?expires={SIGNED}")
    side.get("/v1/sandboxes/sb-secure/endpoints/18080?expires=2000000000")


for mode in ("batch", "wildcard", "uri", "header", "unkeyed"):
    area(f"endpoints-{mode}", mode)(lambda side: endpoints(side, batch))
area("endpoints-agent", "agent")(lambda side: endpoints(side, agent))


@area("proxy")
def proxy(side):
    """Through the server to the pod's address."""
    side.put(batch("sb-1"))
    side.put(batch("sb-waiting", metadata={"annotations": None}))
    side.put(batch("sb-bad", metadata={"annotations": {"sandbox.opensandbox.io/endpoints": '["no address"]'}}))
    side.settle()
    side.names.learn(str(side.backend), "<backend>")
    for path in ("/", "/a/b?c=d&e", "/%2F/x", "/cookies", "/error", "/redir", "/empty"):
        side.get(f"/v1/sandboxes/sb-1/proxy/{side.backend}{path}")
    side.post(f"/v1/sandboxes/sb-1/proxy/{side.backend}/echo", {"a": 1})
    for path in (f"sb-waiting/proxy/{side.backend}/", "nope/proxy/80/", "sb-1/proxy/0/", "sb-1/proxy/1/", "sb-1/proxy/70000/"):
        side.get(f"/v1/sandboxes/{path}")
    side.get(f"/v1/sandboxes/sb-1/proxy/{side.backend}/", "without a key", key=None)


@area("proxy-secure", "header")
def secure(side):
    """A sandbox that wants its own token."""
    side.put(batch("sb-1", metadata={"annotations": {"opensandbox.io/secure-access-token": TOKEN}}))
    side.settle()
    side.names.learn(str(side.backend), "<backend>")
    path = f"/v1/sandboxes/sb-1/proxy/{side.backend}/"
    for headers in ((), (("OpenSandbox-Secure-Access", TOKEN),), (("OpenSandbox-Secure-Access", "x"),)):
        side.get(path, f"with {headers}", headers=headers)
        side.get(path, f"without a key, with {headers}", headers=headers, key=None)


TIME = "2026-01-01T00:00:00Z"

CRASHED = {
    "phase": "Running",
    "podIP": "10.0.0.1",
    "hostIP": "10.0.0.2",
    "startTime": TIME,
    "conditions": [
        {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "containers with unready status"},
        {"type": "PodScheduled", "status": "True"},
    ],
    "initContainerStatuses": [
        {
            "name": "execd-installer",
            "ready": True,
            "restartCount": 0,
            "image": "e",
            "imageID": "",
            "state": {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": TIME, "finishedAt": TIME}},
        },
        {"name": "second", "ready": False, "restartCount": 2, "image": "e", "imageID": "", "state": {"waiting": {"reason": "PodInitializing"}}},
    ],
    "containerStatuses": [
        {
            "name": "sandbox",
            "ready": False,
            "restartCount": 7,
            "image": "reg.example/py:1",
            "imageID": "",
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}},
            "lastState": {
                "terminated": {"exitCode": 137, "reason": "OOMKilled", "startedAt": TIME, "finishedAt": "2026-01-01T00:00:01Z"}
            },
        },
        {
            "name": "egress",
            "ready": False,
            "restartCount": 0,
            "image": "e",
            "imageID": "",
            "state": {"terminated": {"exitCode": 3, "reason": "Error", "message": "gone", "startedAt": TIME, "finishedAt": TIME}},
        },
        {"name": "bare", "ready": False, "restartCount": 0, "image": "b", "imageID": "", "state": {}},
    ],
}


@area("diagnostics-states")
def states(side):
    """Pods in all states, and events of all forms."""
    containers = [
        {"name": "sandbox", "image": "x", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}}},
        {"name": "egress", "image": "e", "resources": {"requests": {"cpu": "100m"}}},
        {"name": "bare", "image": "b"},
    ]
    for name in ("sb-crash", "sb-new", "sb-gone", "sb-init"):
        side.put(batch(name))
    running = {"name": "third", "ready": False, "restartCount": 0, "image": "e", "imageID": "", "state": {"running": {"startedAt": TIME}}}
    side.put(pod("sb-init-0", "sb-init", status={"phase": "Pending", "initContainerStatuses": [running]}))
    side.put(pod("sb-crash-0", "sb-crash", spec={"containers": containers, "runtimeClassName": "gvisor"}, status=CRASHED))
    side.put(pod("sb-new-0", "sb-new", metadata={"labels": {"z": "1", "a": ""}}))
    side.put(pod("sb-gone-0", "sb-gone", status={"phase": "Failed", "reason": "NodeLost", "message": "two\nlines"}))
    for number, change in enumerate(
        (
            {"firstTimestamp": None, "lastTimestamp": None, "eventTime": "2026-01-01T00:00:02.123456Z", "count": None, "source": {}},
            {"lastTimestamp": "2026-01-01T00:00:03Z", "message": "two\nlines", "count": 5},
            {"lastTimestamp": "2026-01-01T00:00:04Z", "type": "Warning", "reason": "AReasonThatIsLongerThanTwentyLetters"},
            {"firstTimestamp": None, "lastTimestamp": None, "count": None},
        )
    ):
        side.put(event(f"sb-new-0.{number}", "sb-new-0", **change))
    side.settle()
    for name in ("sb-crash", "sb-new", "sb-gone", "sb-init"):
        for what in ("inspect", "events", "summary"):
            side.get(f"/v1/sandboxes/{name}/diagnostics/{what}")


@area("diagnostics")
def diagnostics(side):
    """Logs, inspection, events."""
    side.put(batch("sb-1"))
    side.put(pod("sb-1-0", "sb-1"))
    side.cluster.tell(f"run {side.namespace} sb-1-0 127.0.0.1")
    side.put(event("sb-1-0.1", "sb-1-0"))
    side.put(event("sb-1-0.2", "sb-1-0", type="Warning", reason="BackOff", message="Back-off", count=3, lastTimestamp="2026-01-01T00:05:00Z"))
    side.put(batch("sb-bare"))
    side.settle()
    for name in ("sb-1", "sb-bare", "nope"):
        path = f"/v1/sandboxes/{name}/diagnostics"
        for what in ("inspect", "events", "events?limit=1", "events?scope=runtime", "logs", "logs?tail=5&since=10m", "summary"):
            side.get(f"{path}/{what}")
        for what in ("logs?scope=container", "logs?container=sandbox", "logs?container=zz", "events?scope=nope", "logs?tail=0", "logs?since=x"):
            side.get(f"{path}/{what}")
