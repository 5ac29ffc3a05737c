"""A stand-in for execd on Kubernetes: the pods of the test API server have this machine's address and no processes, so one execd
serves them all. It measures, and runs commands in the foreground."""

import json
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 44772
"""Where clients look for it."""


class Execd:
    """The server, until the `with` block ends."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        handler = type("Handler", (Handler,), {"folder": self.folder.name})
        self.server = ThreadingHTTPServer(("127.0.0.1", PORT), handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.folder.cleanup()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    folder = ""

    def do_GET(self):
        """`/ping` and `/metrics`."""
        if self.path == "/metrics":
            found = {"cpu_count": 1, "cpu_used_pct": 0.5, "mem_total_mib": 64, "mem_used_mib": 1, "timestamp": now()}
            self.answer(200, "application/json", json.dumps(found))
        elif self.path == "/ping":
            self.answer(200, "text/plain", "ok")
        else:
            self.answer(404, "application/json", '{"code":"NOT_FOUND","message":"The stub has no such route."}')

    def do_POST(self):
        """`/command`."""
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        done = subprocess.run(["sh", "-c", asked["command"]], cwd=self.folder, capture_output=True, text=True)
        events = [{"type": "init", "text": "run"}]
        for kind, text in (("stdout", done.stdout), ("stderr", done.stderr)):
            events += [{"type": kind, "text": line} for line in text.splitlines()]
        events.append({"type": "execution_complete", "execution_time": 1})
        lines = (f"data: {json.dumps(event | {'timestamp': now()})}\n\n" for event in events)
        self.answer(200, "text/event-stream", "".join(lines))

    def answer(self, status, media, text):
        """A whole answer."""
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing."""


def now():
    """Milliseconds since 1970."""
    return int(time.time() * 1000)
