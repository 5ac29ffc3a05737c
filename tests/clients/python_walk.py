"""Walks through the Python SDK, asynchronous (`async`) or synchronous (`sync`): the same steps, by the same code."""

import asyncio
import inspect
import os
import sys
import time
from datetime import UTC, datetime, timedelta

import opensandbox
from opensandbox import Sandbox, SandboxManager
from opensandbox.config import ConnectionConfig, ConnectionConfigSync
from opensandbox.exceptions import SandboxApiException
from opensandbox.models.sandboxes import PVC, Host, PlatformSpec, SandboxFilter, SnapshotFilter, Volume
from report import Report

IMAGE = "osb-test/busybox:1"
RESOURCE = {"cpu": "100m", "memory": "64Mi"}
NONE = "11111111-2222-3333-4444-555555555555"
RUNTIME = os.environ.get("CLIENTS_RUNTIME", "docker")
ON_CLUSTER = RUNTIME == "kubernetes"
"""The test API server's pods have no processes, and creation times are whole seconds there."""
NOT_FOUND = f"{RUNTIME.upper()}::SANDBOX_NOT_FOUND"
NOT_RUNNING, NOT_PAUSED = (
    ["KUBERNETES::INVALID_STATE"] * 2 if ON_CLUSTER else ["DOCKER::SANDBOX_NOT_RUNNING", "DOCKER::SANDBOX_NOT_PAUSED"]
)


async def go(value):
    """The value of an asynchronous call, or of a synchronous one."""
    return await value if inspect.isawaitable(value) else value


class Walk:
    """One walk, with what its steps share."""

    def __init__(self, kind, proxied):
        self.report = Report(f"python {kind}{' by the proxy' if proxied else ''}{' on Kubernetes' if ON_CLUSTER else ''}")
        is_async = kind == "async"
        self.sandboxes = Sandbox if is_async else opensandbox.SandboxSync
        config = ConnectionConfig if is_async else ConnectionConfigSync
        self.config = config(
            domain=os.environ["OPEN_SANDBOX_DOMAIN"],
            api_key=os.environ["OPEN_SANDBOX_API_KEY"],
            use_server_proxy=proxied,
        )
        managers = SandboxManager if is_async else opensandbox.SandboxManagerSync
        self.manager = managers.create(connection_config=self.config)
        self.proxied = proxied
        self.made = []

    async def create(self, **fields):
        """A new sandbox, which the end of the walk kills."""
        fields = {"image": IMAGE, "resource": RESOURCE, "timeout": timedelta(minutes=5)} | fields
        made = await go(self.sandboxes.create(connection_config=self.config, **fields))
        self.made.append(made.id)
        return made

    async def refused(self, step, call, status, code):
        """The call must fail with this status and code."""
        try:
            await go(call())
            self.report.failed(step, "was not refused")
        except SandboxApiException as error:
            seen = (error.status_code, error.error.code, bool(error.request_id))
            self.report.check(step, seen == (status, code, True), seen)

    async def becomes(self, sandbox, state):
        """Whether a sandbox comes to this state."""
        for _ in range(100):
            seen = (await go(self.manager.get_sandbox_info(sandbox))).status.state
            if seen == state:
                return True
            await asyncio.sleep(0.1)
        return False

    def steps(self):
        """The walk."""
        return (
            self.life,
            self.listing,
            self.states,
            self.commands,
            self.snapshots,
            self.diagnostics,
            self.volumes,
            self.errors,
        )

    async def run(self):
        """All steps; what they made is removed also when one fails."""
        self.manager = await go(self.manager)
        try:
            for step in self.steps():
                try:
                    await step()
                except Exception:
                    self.report.broke(step.__name__)
        finally:
            for made in self.made:
                try:
                    await go(self.manager.kill_sandbox(made))
                except SandboxApiException:
                    # The walk killed it already.
                    pass
            await go(self.manager.close())

    async def life(self):
        """Create, look, renew, patch, endpoints, health, kill."""
        check = self.report.check
        token = f"w{time.time_ns()}"
        began = datetime.now(UTC)
        sandbox = await self.create(
            metadata={"walk": token, "gone": "soon"},
            env={"A": "b"},
            extensions={"opensandbox.extensions.x": "y"},
            platform=PlatformSpec(os="linux", arch="amd64"),
        )
        info = await go(sandbox.get_info())
        check("get_info: state", info.status.state == "Running", info.status)
        started = ["/opt/opensandbox/bootstrap.sh"] if ON_CLUSTER else []
        check("get_info: entrypoint", info.entrypoint == [*started, "tail", "-f", "/dev/null"], info.entrypoint)
        check("get_info: metadata", info.metadata == {"walk": token, "gone": "soon"}, info.metadata)
        check("get_info: image", info.image.image == IMAGE, info.image)
        check(
            "get_info: expires in five minutes",
            timedelta(seconds=290) < info.expires_at - began < timedelta(seconds=320),
            info.expires_at,
        )
        check("is_healthy", await go(sandbox.is_healthy()))
        endpoint = await go(sandbox.get_endpoint(8080))
        check("get_endpoint", ("/proxy/8080" in endpoint.endpoint) == self.proxied, endpoint)
        renewed = await go(sandbox.renew(timedelta(minutes=20)))
        check(
            "renew",
            abs(renewed.expires_at - datetime.now(UTC) - timedelta(minutes=20)) < timedelta(seconds=10),
            renewed,
        )
        check("get_info after renew", (await go(sandbox.get_info())).expires_at == renewed.expires_at)
        patched = await go(sandbox.patch_metadata({"gone": None, "new": "x"}))
        check("patch_metadata", patched.metadata == {"walk": token, "new": "x"}, patched.metadata)
        connected = await go(self.sandboxes.connect(sandbox.id, connection_config=self.config))
        check("connect", connected.id == sandbox.id)
        await go(connected.close())
        forever = await self.create(timeout=None)
        check("create without a timeout", (await go(forever.get_info())).expires_at is None)
        await self.refused(
            "renew one without a timeout",
            lambda: forever.renew(timedelta(minutes=1)),
            409,
            "DOCKER::INVALID_EXPIRATION",
        )
        await go(sandbox.kill())
        await self.refused("get_info after kill", lambda: sandbox.get_info(), 404, NOT_FOUND)
        await go(sandbox.close())

    async def listing(self):
        """Lists with filters and pages."""
        check = self.report.check
        token = f"w{time.time_ns()}"
        made = [
            await self.create(metadata={"walk": token, "odd": str(number % 2)}, skip_health_check=True)
            for number in range(3)
        ]

        ids = [sandbox.id for sandbox in made][::-1]

        async def found(**filters):
            page = await go(self.manager.list_sandbox_infos(SandboxFilter(**filters)))
            found = [info.id for info in page.sandbox_infos]
            # On a cluster those of one second are in the order of their ids.
            return sorted(found, key=ids.index) if ON_CLUSTER else found, page.pagination

        check("list by metadata, newest first", (await found(metadata={"walk": token}))[0] == ids)
        check("list by two", (await found(metadata={"walk": token, "odd": "1"}))[0] == [ids[1]])
        await go(self.manager.pause_sandbox(made[0].id))
        check("list: paused", await self.becomes(made[0].id, "Paused"))
        check("list by state", (await found(metadata={"walk": token}, states=["Paused"]))[0] == [ids[2]])
        check("list by two states", (await found(metadata={"walk": token}, states=["Paused", "Running"]))[0] == ids)
        items, page = await found(metadata={"walk": token}, page=2, page_size=2)
        check(
            "list by pages",
            (len(items) if ON_CLUSTER else items, page.total_items, page.total_pages, page.has_next_page)
            == (1 if ON_CLUSTER else [ids[2]], 3, 2, False),
            (items, page),
        )
        check("manager: get", (await go(self.manager.get_sandbox_info(ids[0]))).id == ids[0])
        patched = await go(self.manager.patch_sandbox_metadata(ids[0], {"odd": None}))
        check("manager: patch", patched.metadata == {"walk": token}, patched.metadata)
        renewed = await go(self.manager.renew_sandbox(ids[0], timedelta(minutes=30)))
        check("manager: renew", renewed.expires_at > datetime.now(UTC) + timedelta(minutes=29), renewed)

    async def states(self):
        """Pause and resume."""
        check = self.report.check
        sandbox = await self.create()
        await go(sandbox.pause())
        check("pause", await self.becomes(sandbox.id, "Paused"))
        await self.refused("pause again", lambda: sandbox.pause(), 409, NOT_RUNNING)
        resumed = await go(self.sandboxes.resume(sandbox.id, connection_config=self.config))
        check("resume", await self.becomes(resumed.id, "Running"))
        check("healthy after resume", await go(resumed.is_healthy()))
        await self.refused(
            "resume again", lambda: self.manager.resume_sandbox(sandbox.id), 409, NOT_PAUSED
        )

    async def commands(self):
        """What execd serves, by the endpoint that the server told."""
        check = self.report.check
        sandbox = await self.create()
        result = await go(sandbox.commands.run("echo to-out; echo to-err >&2"))
        check("command: stdout", [line.text.strip() for line in result.logs.stdout] == ["to-out"], result.logs)
        check("command: stderr", [line.text.strip() for line in result.logs.stderr] == ["to-err"], result.logs)
        metrics = await go(sandbox.get_metrics())
        check("metrics", metrics.memory_total_in_mib > 0, metrics)

    async def snapshots(self):
        """Snapshot, restore, delete."""
        check = self.report.check
        source = await self.create()
        if not ON_CLUSTER:
            await go(source.commands.run("echo kept > /kept"))
        name = f"walk-{time.time_ns()}"
        made = await go(source.create_snapshot(name))
        check("snapshot: create", (made.sandbox_id, made.name) == (source.id, name), made)
        for _ in range(100):
            seen = await go(self.manager.get_snapshot(made.id))
            if seen.status.state != "Creating":
                break
            await asyncio.sleep(0.1)
        check("snapshot: ready", seen.status.state == "Ready", seen.status)
        listed = await go(
            self.manager.list_snapshots(SnapshotFilter(sandbox_id=source.id, name=name, states=["Ready"]))
        )
        check("snapshot: list", [item.id for item in listed.snapshot_infos] == [made.id], listed)
        restored = await self.create(image=None, snapshot_id=made.id)
        check("snapshot: restore", (await go(restored.get_info())).snapshot_id == made.id)
        if not ON_CLUSTER:
            kept = await go(restored.commands.run("cat /kept"))
            check("snapshot: files", [line.text.strip() for line in kept.logs.stdout] == ["kept"], kept.logs)
        await go(restored.kill())
        await go(source.kill())
        await go(self.manager.delete_snapshot(made.id))
        await self.refused(
            "snapshot: get after delete", lambda: self.manager.get_snapshot(made.id), 404, "SNAPSHOT::NOT_FOUND"
        )

    async def diagnostics(self):
        """The stable diagnostics."""
        check = self.report.check
        sandbox = await self.create(entrypoint=["sh", "-c", "echo printed; exec sleep 100000"])
        # The test API server's containers print nothing, and nobody writes events.
        printed = "(no logs)" if ON_CLUSTER else " printed"
        for _ in range(50):
            logs = await go(sandbox.get_diagnostic_logs("container"))
            if printed in logs.content:
                break
            await asyncio.sleep(0.1)
        check("diagnostics: logs", logs.content.rstrip("\n").endswith(printed), logs)
        events = await go(sandbox.get_diagnostic_events("runtime"))
        check("diagnostics: events", ("(no events)" if ON_CLUSTER else "Status:     running") in events.content, events)
        everything = await go(self.manager.get_diagnostic_logs(sandbox.id, "all"))
        check("diagnostics: warnings", ON_CLUSTER or bool(everything.warnings), everything)
        await self.refused(
            "diagnostics: a scope", lambda: sandbox.get_diagnostic_logs("nope"), 400, "DIAGNOSTICS_SCOPE_UNSUPPORTED"
        )

    async def volumes(self):
        """A host's directory and a named volume."""
        check = self.report.check
        shared, named = os.environ["CLIENTS_SHARED"], f"clients-{time.time_ns()}"
        sandbox = await self.create(
            volumes=[
                Volume(name="host", host=Host(path=shared), mount_path="/mnt/host"),
                Volume(
                    name="named",
                    pvc=PVC(claim_name=named, delete_on_sandbox_termination=True),
                    mount_path="/mnt/named",
                    read_only=False,
                ),
            ]
        )
        if ON_CLUSTER:
            check("volumes", (await go(sandbox.get_info())).status.state == "Running")
            return
        result = await go(sandbox.commands.run("cat /mnt/host/file; touch /mnt/named/x && echo written"))
        check("volumes", [line.text.strip() for line in result.logs.stdout] == ["shared", "written"], result.logs)

    async def errors(self):
        """What is refused, and what the client makes of it."""
        manager = self.manager
        await self.refused("get none", lambda: manager.get_sandbox_info(NONE), 404, NOT_FOUND)
        await self.refused("kill none", lambda: manager.kill_sandbox(NONE), 404, NOT_FOUND)
        await self.refused("pause none", lambda: manager.pause_sandbox(NONE), 404, NOT_FOUND)
        await self.refused("resume none", lambda: manager.resume_sandbox(NONE), 404, NOT_FOUND)
        await self.refused(
            "renew none", lambda: manager.renew_sandbox(NONE, timedelta(minutes=1)), 404, NOT_FOUND
        )
        await self.refused(
            "patch none", lambda: manager.patch_sandbox_metadata(NONE, {"a": "b"}), 404, NOT_FOUND
        )
        await self.refused("snapshot none", lambda: manager.create_snapshot(NONE), 404, NOT_FOUND)
        await self.refused("delete no snapshot", lambda: manager.delete_snapshot(NONE), 404, "SNAPSHOT::NOT_FOUND")
        # The client knows no 404 of a creation, and so no code of it.
        await self.refused(
            "restore none", lambda: self.create(image=None, snapshot_id=NONE), 404, "UNEXPECTED_RESPONSE"
        )
        await self.refused("a label", lambda: self.create(metadata={"-": "x"}), 400, "SANDBOX::INVALID_METADATA_LABEL")
        await self.refused("a limit", lambda: self.create(resource={"memory": "x"}), 400, "SANDBOX::INVALID_PARAMETER")
        if not ON_CLUSTER:
            await self.refused(
                "an image", lambda: self.create(image="127.0.0.1:1/none:1"), 500, "DOCKER::SANDBOX_IMAGE_PULL_FAILED"
            )
        await self.refused("secure access", lambda: self.create(secure_access=True), 400, "SANDBOX::INVALID_PARAMETER")
        await self.refused("templates", lambda: manager.get_template("t"), 501, "FSB::API_NOT_SUPPORTED")


if __name__ == "__main__":
    asyncio.run(Walk(sys.argv[1], len(sys.argv) > 2).run())
