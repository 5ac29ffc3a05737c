"""What an area of the corpus talks to: one server, with everything asked and answered written down."""

import json
import os
import time
from dataclasses import dataclass

from engine import IMAGE, part
from normal import Names
from wire import Answer, Request, exchange

KEEP = object()
"""Stands for `what the configuration says`."""


@dataclass
class Record:
    """One thing to compare: an answer, or an object on the engine."""

    name: str
    request: Request = None
    answer: Answer = None
    thing: dict = None


class Side:
    """One server as one area sees it."""

    def __init__(self, server, area):
        self.server, self.area = server, area
        self.token = f"{server.kind[0]}{os.urandom(5).hex()}"
        self.names = Names(server, self.token)
        self.records = []
        self.owned = []
        self.tried = 0

    # --- asking

    def ask(
        self, name, method, path, *, json_body=KEEP, body=None, headers=(), key=KEEP, type=KEEP, host=KEEP, raw=None
    ):
        """Sends a request and writes the answer down under `name` (default: the request line)."""
        sent = [] if host is None else [("Host", f"127.0.0.1:{self.server.port}" if host is KEEP else host)]
        key = self.server.key if key is KEEP else key
        if key is not None:
            sent.append(("OPEN-SANDBOX-API-KEY", key))
        if json_body is not KEEP:
            body = json.dumps(json_body).encode()
        if body is not None and type is KEEP:
            type = "application/json"
        if type is not KEEP and type is not None:
            sent.append(("Content-Type", type))
        request = Request(method, path, [*sent, *headers], body, raw)
        answer = self._exchange(request)
        label = self.names.text(name or f"{method} {path}", time.time())
        self.records.append(Record(label, request, answer))
        return answer

    def _exchange(self, request):
        try:
            answer = exchange(self.server.port, request)
        except (OSError, ValueError) as error:
            answer = Answer(0, [], b"", f"{type(error).__name__}: {error}")
        answer.at = time.time()
        return answer

    def get(self, path, name=None, **more):
        """GET."""
        return self.ask(name, "GET", path, **more)

    def post(self, path, value=KEEP, name=None, **more):
        """POST of a JSON value, if there is one."""
        return self.ask(name, "POST", path, json_body=value, **more)

    def delete(self, path, name=None, **more):
        """DELETE."""
        return self.ask(name, "DELETE", path, **more)

    # --- sandboxes

    def create(self, name=None, *, inspect=False, path="/v1/sandboxes", **fields):
        """Creates a sandbox and returns its id, or None. `inspect` compares its container as well."""
        answer = self.post(path, sandbox(**fields), name=name or f"create {brief(fields)}")
        made = self.adopt(answer)
        if inspect and made:
            self.look(made)
        return made

    def look(self, made):
        """Compares a sandbox's container on the engine."""
        self.note(f"container of {self.records[-1].name}", part(made))

    def note(self, name, thing):
        """Compares something that is no answer."""
        self.records.append(Record(name, thing=thing))

    def adopt(self, answer):
        """Takes the id out of an answer that made something, names it, and remembers to delete it.

        The name counts what was tried: a creation that only one server refuses must not shift the names after it."""
        self.tried += 1
        made = parsed(answer).get("id") if answer.status == 202 else None
        if made:
            self.owned.append(made)
            self.names.learn(made, f"<id {self.tried}>")
        return made

    def quietly(self, method, path, body=None):
        """An exchange that is not compared."""
        headers = [
            ("Host", "x"),
            ("OPEN-SANDBOX-API-KEY", self.server.key or "x"),
            ("Content-Type", "application/json"),
        ]
        return self._exchange(Request(method, path, headers, None if body is None else json.dumps(body).encode()))

    def until(self, path, ready, seconds=20):
        """Asks until `ready(the answer's JSON)`; not compared. Returns the last JSON."""
        end = time.time() + seconds
        while True:
            seen = parsed(self.quietly("GET", path))
            if ready(seen) or time.time() > end:
                return seen
            time.sleep(0.05)

    def clean(self):
        """Deletes what the area left."""
        for made in self.owned:
            self.quietly("DELETE", f"/v1/sandboxes/{made}")
            self.quietly("DELETE", f"/v1/snapshots/{made}")


def sandbox(**fields):
    """A create request: a sleeping busybox with these fields put over it; None takes one away."""
    base = {
        "image": {"uri": IMAGE},
        "entrypoint": ["sleep", "100000"],
        "resourceLimits": {"cpu": "100m", "memory": "64Mi"},
        "timeout": 3600,
    }
    return {key: value for key, value in (base | fields).items() if value is not DROP}


DROP = object()
"""As a field of `sandbox`: leave it out."""


def parsed(answer):
    """The answer's JSON object, or an empty one."""
    try:
        value = json.loads(answer.body)
        return value if isinstance(value, dict) else {}
    except ValueError:
        return {}


def brief(fields):
    """A create request's fields, short enough for a name."""
    text = json.dumps({key: "(left out)" if value is DROP else value for key, value in fields.items()})
    return text if len(text) <= 160 else text[:157] + "..."
