"""What happens to containers behind the servers' backs, and clients that leave."""

import json
import socket
import time

import engine
from side import sandbox

from . import area


@area("behind-our-back")
def behind(side):
    """The engine's own commands on a sandbox's container, and what is said afterwards."""
    for words in (("pause",), ("kill",), ("stop", "-t", "0"), ("restart", "-t", "0"), ("rename",), ("rm", "-f")):
        made = side.create(f"create, to {words[0]}", metadata={"run": side.token})
        name = f"sandbox-{made}"
        engine.docker(*words, name, *([f"renamed-{made}"] if words == ("rename",) else []))
        # Servers may hear of it by the engine's events.
        time.sleep(0.3)
        side.get(f"/v1/sandboxes/{made}", f"get after {words[0]}")
        side.get(f"/v1/sandboxes?metadata=run%3D{side.token}", f"list after {words[0]}")
        for step in ("pause", "resume"):
            side.ask(f"{step} after {words[0]}", "POST", f"/v1/sandboxes/{made}/{step}")
        side.get(f"/v1/sandboxes/{made}/endpoints/80", f"endpoint after {words[0]}")
        side.ask(f"patch after {words[0]}", "PATCH", f"/v1/sandboxes/{made}/metadata", json_body={"a": "b"})
        side.post(f"/v1/sandboxes/{made}/renew-expiration", {"expiresAt": "2090-01-01"}, f"renew after {words[0]}")
        side.delete(f"/v1/sandboxes/{made}", f"delete after {words[0]}")
        side.get(f"/v1/sandboxes/{made}", f"get after {words[0]} and delete")
        # What a server left, since it is not sure that it is its own.
        engine.docker("rm", "-f", f"renamed-{made}", check=False)
        told = engine.docker("volume", "ls", "-q", "--filter", f"label=opensandbox.io/expiry-of={made}").split()
        if told:
            engine.docker("volume", "rm", *told, check=False)


@area("clients-that-leave")
def leaving(side):
    """A creation goes on when its client leaves at once, or in the middle of its body."""
    whole = side_request(side, sandbox(metadata={"run": side.token}))
    # Python's server forgets a request whose client is gone before its body was read, and how soon that is depends on the machine.
    # What the engine has heard of has been read.
    leave(side, whole, lambda: engine.docker("ps", "-aq", "--filter", f"label=run={side.token}").strip())
    found = side.until(f"/v1/sandboxes?metadata=run%3D{side.token}", is_running)
    made = found["items"][0]["id"] if found.get("items") else "none"
    side.names.learn(made, "<id 1>")
    side.owned.append(made)
    side.get(f"/v1/sandboxes?metadata=run%3D{side.token}", "list after the client left")
    side.delete(f"/v1/sandboxes/{made}", "delete what nobody waited for")
    leave(side, whole[:-5], lambda: False, 0.05)
    time.sleep(0.5)
    side.get(f"/v1/sandboxes?metadata=run%3D{side.token}", "list after half a request")


def is_running(seen):
    """Whether the first of a list runs. It is listed as soon as the engine has it."""
    return any(item["status"]["state"] == "Running" for item in seen.get("items", []))


def side_request(side, body):
    """A creation as bytes."""
    text = json.dumps(body)
    return f"POST /v1/sandboxes HTTP/1.1\r\nHost: x\r\nOPEN-SANDBOX-API-KEY: {side.server.key}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()


def leave(side, sent, seen, at_most=10):
    """Sends bytes and goes once they are seen to have had an effect, or after so many seconds."""
    with socket.create_connection(("127.0.0.1", side.server.port), timeout=10) as conn:
        conn.sendall(sent)
        end = time.monotonic() + at_most
        while time.monotonic() < end and not seen():
            time.sleep(0.01)
