"""Walks through the Python SDK on `dev`, asynchronous (`async`) or synchronous (`sync`): what execd serves, most of all."""

import asyncio
import io
import sys
import time
from datetime import timedelta

from opensandbox.exceptions import SandboxException
from opensandbox.models.execd import RunCommandOpts
from opensandbox.models.filesystem import (
    ContentReplaceEntry,
    DirectoryListEntry,
    MoveEntry,
    SearchEntry,
    SetPermissionEntry,
    WriteEntry,
)
from python_walk import Walk, go
from report import Report


def lines(messages):
    """What was printed, as one text."""
    return "".join(message.text for message in messages)


class DevWalk(Walk):
    """One walk, with what its steps share."""

    def __init__(self, kind, proxied):
        super().__init__(kind, proxied)
        self.report = Report(f"python {kind} on dev{' by the proxy' if proxied else ''}")

    def steps(self):
        """The walk."""
        return (self.life, self.foreground, self.background, self.sessions, self.files, self.directories, self.errors)

    async def create(self, **fields):
        """A new sandbox, which the end of the walk kills. The image is only recorded."""
        return await super().create(**{"image": "any"} | fields)

    async def life(self):
        """Create, look, pause, kill."""
        check = self.report.check
        began = time.time()
        sandbox = await self.create(metadata={"walk": "dev"}, env={"GREETING": "hi there"})
        check("create is quick", time.time() - began < 5, time.time() - began)
        check("is_healthy", await go(sandbox.is_healthy()))
        result = await go(sandbox.commands.run("echo hi"))
        check("echo hi", (result.text, result.exit_code) == ("hi", 0), result)
        result = await go(sandbox.commands.run("echo $GREETING"))
        check("the sandbox's variables", result.text == "hi there", result)
        metrics = await go(sandbox.get_metrics())
        check("metrics", metrics.memory_total_in_mib > metrics.memory_used_in_mib > 0 < metrics.cpu_count, metrics)
        await go(sandbox.pause())
        check("unhealthy while paused", not await go(sandbox.is_healthy()))
        resumed = await go(self.sandboxes.resume(sandbox.id, connection_config=self.config))
        result = await go(resumed.commands.run("echo back"))
        check("resumed", result.text == "back", result)
        connected = await go(self.sandboxes.connect(sandbox.id, connection_config=self.config))
        check("connect", await go(connected.is_healthy()))
        await go(sandbox.kill())
        await self.refused("get_info after kill", lambda: sandbox.get_info(), 404, "DOCKER::SANDBOX_NOT_FOUND")

    async def foreground(self):
        """Commands that are waited for."""
        check = self.report.check
        sandbox = await self.create()

        async def run(command, **options):
            return await go(sandbox.commands.run(command, opts=RunCommandOpts(**options)))

        result = await run("echo out; echo err >&2; printf 'a\n\nb'; exit 3")
        check("stdout", lines(result.logs.stdout) == "out\na\n\nb", result.logs)
        check("stderr", lines(result.logs.stderr) == "err\n", result.logs)
        check("exit code", (result.exit_code, result.error.value) == (3, "3"), result)
        status = await go(sandbox.commands.get_command_status(result.id))
        check("status", (status.running, status.exit_code, status.id) == (False, 3, result.id), status)
        began = time.time()
        result = await run("sleep 1000", timeout=timedelta(milliseconds=500))
        check("timeout", result.exit_code == 137 and time.time() - began < 10, result)
        result = await run("echo $A; pwd", working_directory="/usr", envs={"A": "b"})
        check("directory and variables", result.text == "b\n/usr", result)
        result = await run(["printf", "%s|", "$HOME", "", "it's"])
        check("argv", result.text == "$HOME||it's|", result)
        await go(sandbox.commands.set_env("KEPT", 'it\'s "kept"\nand \\ whole'))
        result = await run('printf %s "$KEPT"')
        check("set_env", result.text == 'it\'s "kept"\nand \\ whole', result)
        result = await run("seq 20000")
        check("much", result.text.endswith("\n20000") and result.text.count("\n") == 19999, len(result.text))

    async def background(self):
        """Commands that are not."""
        check = self.report.check
        sandbox = await self.create()
        background = RunCommandOpts(background=True)
        made = await go(sandbox.commands.run("echo one; echo two >&2; sleep 0.5; echo three", opts=background))
        check("started", made.id and made.complete is not None, made)
        for _ in range(100):
            status = await go(sandbox.commands.get_command_status(made.id))
            if not status.running:
                break
            await asyncio.sleep(0.05)
        check("ended", (status.exit_code, status.error) == (0, None) and status.finished_at > status.started_at, status)
        logs = await go(sandbox.commands.get_background_command_logs(made.id))
        check("logs", (logs.content, logs.cursor) == ("one\ntwo\nthree\n", 2), logs)
        logs = await go(sandbox.commands.get_background_command_logs(made.id, cursor=1))
        check("logs from a cursor", (logs.content, logs.cursor) == ("three\n", 2), logs)
        made = await go(sandbox.commands.run("sleep 1000", opts=background))
        await go(sandbox.commands.interrupt(made.id))
        for _ in range(100):
            status = await go(sandbox.commands.get_command_status(made.id))
            if not status.running:
                break
            await asyncio.sleep(0.05)
        check("interrupt", status.exit_code == 143, status)

    async def sessions(self):
        """Shell sessions."""
        check = self.report.check
        sandbox = await self.create()
        commands = sandbox.commands
        session = await go(commands.create_session(working_directory="/usr"))
        result = await go(commands.run_in_session(session, "X=5; export Y=6; f() { echo f$1; }; cd lib; exit 4"))
        check("session: exit code", result.exit_code == 4, result)
        result = await go(commands.run_in_session(session, "echo $X; sh -c 'echo $Y'; f 7; pwd"))
        check("session: state", result.text.split("\n")[:3] == ["5", "6", "f7"] and "lib" in result.text, result)
        result = await go(commands.run_in_session(session, "pwd", working_directory="/"))
        check("session: a directory for one line", result.text == "/", result)
        result = await go(commands.run_in_session(session, "sleep 1000", timeout=timedelta(milliseconds=300)))
        check("session: timeout", result.exit_code == 137, result)
        await go(commands.delete_session(session))
        await self.refused("session: gone", lambda: commands.run_in_session(session, "true"), 404, "EXECD::NOT_FOUND")

    async def files(self):
        """Files that are written, read and changed."""
        check = self.report.check
        sandbox = await self.create()
        files = sandbox.files
        directory = (await go(sandbox.commands.run("pwd -P"))).text
        await go(files.write_file("hello.txt", "héllo\nworld\n"))
        check("read_file", await go(files.read_file("hello.txt")) == "héllo\nworld\n")
        check("read_file by an absolute path", await go(files.read_file(f"{directory}/hello.txt")) == "héllo\nworld\n")
        check("a range", await go(files.read_bytes("hello.txt", range_header="bytes=0-2")) == "hé".encode())
        check("lines", await go(files.read_file("hello.txt", offset=2, limit=1)) == "world\n")
        binary = bytes(range(256)) * 40_000
        await go(
            files.write_files(
                [
                    WriteEntry(path="deep/er/binary", data=binary, mode=600),
                    WriteEntry(path="deep/stream", data=io.BytesIO(binary)),
                ]
            )
        )
        check("binary", await go(files.read_bytes("deep/er/binary")) == binary)
        stream = files.read_bytes_stream("deep/stream")
        if hasattr(stream, "__await__"):
            stream = await stream
        parts = [part async for part in stream] if hasattr(stream, "__aiter__") else list(stream)
        check("streamed", b"".join(parts) == binary, len(parts))
        info = (await go(files.get_file_info(["deep/er/binary"])))["deep/er/binary"]
        check("info", (info.entry_type, info.size, info.mode) == ("file", len(binary), 600), info)
        await go(files.set_permissions([SetPermissionEntry(path="hello.txt", mode=644)]))
        check("permissions", (await go(files.get_file_info(["hello.txt"])))["hello.txt"].mode == 644)
        replaced = await go(
            files.replace_contents_detailed([ContentReplaceEntry(path="hello.txt", old_content="l", new_content="L")])
        )
        check("replace", [result.replaced_count for result in replaced] == [3], replaced)
        await go(files.replace_contents([ContentReplaceEntry(path="hello.txt", old_content="L", new_content="l")]))
        await go(files.move_files([MoveEntry(src="hello.txt", dest="deep/moved.txt")]))
        check("move", await go(files.read_file("deep/moved.txt")) == "héllo\nworld\n")
        found = await go(files.search(SearchEntry(path=".", pattern="*.txt")))
        check("search", [entry.path for entry in found] == [f"{directory}/deep/moved.txt"], found)
        await go(files.delete_files(["deep/moved.txt"]))
        check("delete", await go(files.search(SearchEntry(path=".", pattern="*.txt"))) == [])

    async def directories(self):
        """Directories."""
        check = self.report.check
        sandbox = await self.create()
        files = sandbox.files
        await go(files.create_directories([WriteEntry(path="a/b", mode=700), WriteEntry(path="c")]))
        await go(files.write_file("a/b/x", "x"))
        listed = await go(files.list_directory(DirectoryListEntry(path=".")))
        check(
            "list",
            [(entry.path.rsplit("/")[-1], entry.entry_type) for entry in listed]
            == [("a", "directory"), ("c", "directory")],
            listed,
        )
        listed = await go(files.list_directory(DirectoryListEntry(path="a", depth=2)))
        check("list deeper", [entry.path.rsplit("/")[-1] for entry in listed] == ["b", "x"], listed)
        await go(files.delete_directories(["a", "c"]))
        check("delete directories", await go(files.list_directory(DirectoryListEntry(path="."))) == [])

    async def errors(self):
        """What is refused, and what the client makes of it."""
        sandbox = await self.create()
        await self.refused("read nothing", lambda: sandbox.files.read_file("nowhere"), 404, "EXECD::NOT_FOUND")
        await self.refused(
            "status of nothing", lambda: sandbox.commands.get_command_status("x"), 404, "EXECD::NOT_FOUND"
        )
        await self.refused(
            "a directory that there is not",
            lambda: sandbox.commands.run("true", opts=RunCommandOpts(working_directory="/nowhere")),
            400,
            "EXECD::INVALID_REQUEST",
        )
        try:
            await go(sandbox.commands.run("true", opts=RunCommandOpts(uid=54321)))
            self.report.failed("another user", "was not refused")
        except SandboxException as error:
            self.report.check("another user", "its own user" in str(error), str(error))


if __name__ == "__main__":
    asyncio.run(DevWalk(sys.argv[1], len(sys.argv) > 2).run())
