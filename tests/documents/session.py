"""A reader of one document: a shell whose variables last, files, and a gateway."""

import os
import re
import shlex
import signal
import subprocess
import time
import tomllib
from pathlib import Path

from blocks import Fault
from expected import Expected
from stages import PORT, ROOT, Server, completed

LIMIT = 60
"""Seconds for a command."""

PATIENCE = 20
"""Seconds until a command that is interrupted has printed what the document shows."""

PRELUDE = r"""
sandbox() {
    local script=$1 name=${2:-reader} pair
    shift; [ $# = 0 ] || shift
    local metadata=$(for pair in "name=$name" "$@"; do jq -n --arg pair "$pair" '$pair | split("=") | {(.[0]): .[1]}'; done | jq -s add)
    curl -sf http://127.0.0.1:8080/v1/sandboxes -H "OPEN-SANDBOX-API-KEY: $KEY" -H 'Content-Type: application/json' \
        -d "$(jq -n --arg script "$script" --arg image "${IMAGE:-busybox}" --argjson metadata "$metadata" '{image: {uri: $image},
            timeout: 600, resourceLimits: {}, metadata: $metadata, entrypoint: ["sh", "-c", $script]}')" | jq -er .id
}
"""
"""What lines of an annotation may use: `sandbox SCRIPT [NAME [KEY=VALUE...]]`, with the image `$IMAGE`."""

SHELL = r"""
%(prelude)s
. "%(state)s/variables" 2>/dev/null
cd "$(cat "%(state)s/folder")" || exit
__keep() {
    local code=$?
    { declare -p | grep -v '^declare -[a-zA-Z]*r'; declare -f; } >"%(state)s/variables"
    pwd >"%(state)s/folder"
    exit "$code"
}
trap __keep EXIT
set -o pipefail %(options)s
%(text)s
"""


class Session:
    """What a reader has while reading a document."""

    def __init__(self, document, work, program, stages):
        self.document, self.stages, self.program = document, stages, program
        self.work = Path(work)
        self.home, self.place, self.state = (self.work / name for name in ("home", "repository", "state"))
        for folder in (self.home, self.place, self.state, self.work / "bin"):
            folder.mkdir(parents=True)
        # The reader is in the repository; what commands write stays out of it.
        for entry in ROOT.iterdir():
            if entry.name not in (".git", "target"):
                (self.place / entry.name).symlink_to(entry)
        (self.state / "folder").write_text(str(self.place))
        (self.state / "variables").write_text("")
        # An answer that tells an error is a failure, and there is no terminal.
        (self.home / ".curlrc").write_text("fail\nshow-error\nno-progress-meter\n")
        self.key = f"reader-{os.urandom(8).hex()}"
        self.known, self.definitions = {}, ""
        self.runtime = self.server = None
        self.started = []
        self.wrap()

    def wrap(self):
        """Programs under the names that the documents use."""
        python = ROOT / "target/clients/venv/bin"
        programs = {
            "opensandbox-gateway": f'exec "{self.program}" "$@"',
            "python3": f'exec "{python}/python3" "$@"',
            # What `cargo run` does, without its build.
            "cargo": '[ "$1 $2 $3" = "run --release --" ] || { echo "only cargo run is known: $*" >&2; exit 2; }\n'
            f'shift 3 && exec "{self.program}" "$@"',
            # The API server of the tests has no schemas, takes none of the objects of an installation, and reads JSON alone.
            "kubectl": f'PATH=${{PATH#*:}}\nset -- --cache-dir "{self.work}/kubectl" --request-timeout=20s "$@"\n'
            'case " $* " in\n*" apply "*) exec kubectl "$@" --dry-run=client --validate=false ;;\n'
            '*" create token "*) ;;\n*" create "*)\n'
            '    object=$(kubectl "$@" --dry-run=client -o json) || exit\n'
            f'    printf %s "$object" | kubectl --cache-dir "{self.work}/kubectl" create --validate=false -f -\n    exit ;;\n'
            'esac\nexec kubectl "$@"',
            # Helm's engine renders the chart, and says what it has against the values.
            "helm": f'exec /usr/bin/env python3 "{ROOT}/tests/documents/helm.py" "$@"',
        }
        for name, text in programs.items():
            file = self.work / "bin" / name
            file.write_text(f"#!/bin/sh\n{text}\n")
            file.chmod(0o755)

    def env(self):
        """The environment of the reader's shell."""
        kept = ("PATH", "LANG", "DOCKER_HOST", "CARGO_TARGET_DIR")
        env = {name: os.environ[name] for name in kept if name in os.environ}
        env |= {"HOME": str(self.home), "TMPDIR": str(self.work), "NO_COLOR": "1", "KEY": self.key}
        return env | {"PATH": f"{self.work}/bin:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}

    def real(self, text):
        """A block's text with what is this run's own: the key, and ids that were shown."""
        text = text.replace("5f1c…e2", self.key)
        text = re.sub(r'(?<==)…(?=[\s"]|$)|(?<=")…(?=")', self.key, text, flags=re.MULTILINE)
        for shown, real in self.known.items():
            text = text.replace(shown, real)
        return text

    def write(self, block):
        """Puts a block into its file."""
        path = Path(block.value.replace("~", str(self.home), 1)) if block.value[0] in "~/" else self.place / block.value
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.real(block.text))
        path.chmod(0o600)

    def shell(self, text, options=""):
        """The command line of a shell that goes on where the last one ended."""
        names = {"prelude": PRELUDE, "state": self.state, "options": options, "text": text}
        return ["bash", "--norc", "-c", SHELL % names]

    def start(self, command):
        """A command that is under way, with one output."""
        self.started.append(Server(command, self.env(), self.place, self.work / f"{len(self.started)}.out"))
        return self.started[-1]

    def finish(self, running, what):
        """Waits for a command to end with 0; returns what it printed."""
        try:
            code = running.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            running.stop()
            raise Fault(f"did not end within {LIMIT} s: {what}\n{running.printed()[-2000:]}") from None
        if code:
            raise Fault(f"ended with {code}: {what}\n{running.printed()[-2000:]}")
        return running.printed()

    def on(self, runtime):
        """Lets a gateway of this runtime serve, unless one does."""
        if runtime in ("here", self.runtime):
            return
        self.leave()
        self.stages.prepare(runtime, self.home)
        env = self.env() | {"OPENSANDBOX_SERVER_API_KEY": self.key}
        command = [self.program, "dev"]
        if runtime != "dev":
            file = self.home / f"{runtime}.toml"
            file.write_text(completed("", runtime))
            command = [self.program, "--config", str(file)]
        self.server = Server(command, env, self.home, self.work / f"{runtime}.log")
        self.server.wait(PORT)
        self.runtime = runtime

    def leave(self):
        """Ends the gateway."""
        if self.server:
            self.server.stop()
        self.server = self.runtime = None

    def close(self):
        """Ends all that runs."""
        self.leave()
        for running in self.started:
            running.stop()

    def run(self, block):
        """Runs a block of commands."""
        serves = "serves" in block.options
        if serves:
            self.leave()
            self.stages.prepare(block.value, self.home)
        else:
            self.on(block.value)
        language = block.language or "sh"
        text, prelude = self.real(block.text), self.prepare(block)
        if language == "console":
            self.console(block, serves)
        elif language in ("sh", "bash"):
            if serves:
                self.serve(block, text, [])
            else:
                self.finish(self.start(self.shell(text, "-e")), text)
        elif language == "python":
            self.python(block, prelude, text)
        elif language == "js":
            file = self.work / "block.mjs"
            file.write_text(f"{prelude}\n{text}")
            self.finish(self.start(self.shell(f'exec node "{file}"')), str(block))
        else:
            raise Fault(f"nobody knows how to run {language}")

    def prepare(self, block):
        """Runs what the annotation has for the shell; returns the lines in the block's own language."""
        lines = self.real(block.prelude).splitlines()
        is_shell = block.kind == "config" or (block.language or "sh") in ("sh", "bash", "console")
        for_shell = lines if is_shell else [line[2:] for line in lines if line.startswith("$ ")]
        if for_shell:
            text = "\n".join(for_shell)
            self.finish(self.start(self.shell(text, "-e")), text)
        return "" if is_shell else "\n".join(line for line in lines if not line.startswith("$ "))

    def python(self, block, prelude, text):
        """Runs a program, behind the definitions of earlier ones."""
        file = self.work / "block.py"
        file.write_text(f"{self.definitions}\n{prelude}\n{text}")
        self.finish(self.start(self.shell(f'exec python3 "{file}"')), str(block))
        if "defines" in block.options:
            self.definitions += f"{text}\n"

    def serve(self, block, text, shown):
        """Starts a server and lets it run on; its key is the session's from now on."""
        port = int(block.options["serves"] or PORT)
        # The shell of a server ends when later ones have gone on: what it knew is old then.
        self.server = self.start(self.shell(f"trap - EXIT\n{text}"))
        self.server.wait(port)
        self.until(self.server, Expected(shown), text)
        self.runtime = block.value
        made = re.search(r"OPEN_SANDBOX_API_KEY=([0-9a-f]+)", self.server.printed())
        self.key = made[1] if made else self.key
        # A variable that an earlier shell had stays otherwise.
        self.finish(self.start(self.shell(f"export KEY={shlex.quote(self.key)}")), "export KEY")

    def until(self, running, expected, what):
        """Waits until what was printed begins as shown; takes the ids from it."""
        end = time.monotonic() + PATIENCE
        while (found := expected.match(running.printed(), False)) is None:
            if time.monotonic() > end or running.process.poll() is not None:
                raise Fault(f"printed something else: {what}\n{running.printed()[-2000:]}")
            time.sleep(0.05)
        self.known |= found

    def console(self, block, serves):
        """Runs each command behind a prompt and compares what it prints."""
        steps = console_steps(block)
        for number, (command, shown) in enumerate(steps):
            text = self.real(command)
            if shown and shown[0].startswith(">>> "):
                self.doctest(text, shown)
            elif serves and number == len(steps) - 1:
                self.serve(block, text, shown)
            elif shown and shown[-1] == "^C":
                running = self.start(self.shell(text))
                try:
                    self.until(running, Expected(shown[:-1]), text)
                finally:
                    interrupt(running)
            else:
                printed = self.finish(self.start(self.shell(text)), text)
                found = Expected(shown).match(printed, True)
                if found is None:
                    raise Fault(f"printed something else: {text}\n{printed[-2000:]}\ninstead of\n" + "\n".join(shown))
                self.known |= found

    def doctest(self, command, shown):
        """A session of Python, typed behind a prompt."""
        file = self.work / "session.txt"
        file.write_text(self.real("\n".join(shown) + "\n").replace("…", "..."))
        self.finish(self.start(self.shell(f'{command} -m doctest -o ELLIPSIS "{file}"', "-e")), command)

    def check_config(self, block):
        """Starts a gateway with a configuration, and lets it tell what it has against it."""
        self.leave()
        self.stages.prepare(block.value, self.home)
        self.prepare(block)
        file = self.work / "checked.toml"
        text = self.real(block.text)
        # A file of the document's may be for this very configuration.
        file.write_text(completed(text, block.value))
        # With tenants there is no other key, and a file of keys is enough.
        given = tomllib.loads(text)
        has_key = "tenants" in given or "api_key_file" in given.get("server", {})
        key = "" if has_key else "OPENSANDBOX_SERVER_API_KEY=$KEY "
        command = f'{key}exec opensandbox-gateway --config "{file}"'
        server = self.start(self.shell(command))
        try:
            server.wait(given.get("server", {}).get("port", PORT))
        finally:
            server.stop()
        if warned := [line for line in server.printed().splitlines() if f"{file}:" in line]:
            raise Fault("\n".join(warned))


def interrupt(running):
    """Ctrl-C; what does not end by it has failed."""
    if running.process.poll() is None:
        os.killpg(running.process.pid, signal.SIGINT)
    try:
        running.process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        running.stop()
        raise Fault("Ctrl-C does not end it") from None


def console_steps(block):
    """The commands of a console block, each with the lines that it prints."""
    steps = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], []))
        elif not steps:
            raise Fault(f"{block}: a console block begins with a command behind `$ `")
        elif steps[-1][0].endswith("\\") and not steps[-1][1]:
            steps[-1] = (f"{steps[-1][0]}\n{line.removeprefix('> ')}", [])
        else:
            steps[-1][1].append(line)
    # An empty line in front of a prompt is for the eye.
    return [(command, shown[:-1] if shown and not shown[-1] else shown) for command, shown in steps]
