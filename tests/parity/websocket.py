"""WebSocket conversations: what a client sends frame by frame, and what comes back."""

import json
import socket

from backend import read_frame, send_frame

SHAKE = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
]

NEW_EACH_TIME = ("date", "x-request-id", "content-length")
"""Header fields that are not compared."""


def talk(side, name, path, frames, more):
    """One WebSocket conversation; what comes back is compared as an object."""
    seen = {"frames": []}
    with socket.create_connection(("127.0.0.1", side.server.port), timeout=10) as conn:
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{side.server.port}\r\n"
        head += "".join(f"{key}: {value}\r\n" for key, value in [*SHAKE, *more])
        conn.sendall(f"{head}\r\n".encode())
        reader = conn.makefile("rb")
        seen["status"] = int((reader.readline().split() or [b"", b"0"])[1])
        lines = [line.decode().strip().partition(": ") for line in iter(reader.readline, b"\r\n") if line]
        seen["headers"] = {name.lower(): value for name, _, value in lines if name.lower() not in NEW_EACH_TIME}
        if seen["status"] == 101:
            converse(conn, reader, frames, seen["frames"])
    side.note(f"WebSocket: {name}", seen)


def converse(conn, reader, frames, seen):
    """Sends frame by frame, each after the answer to the one before, and reads on until the service closes."""
    try:
        for opcode, payload in frames:
            if opcode is not None:
                send_frame(conn, opcode, payload, mask=True)
            listen(reader, seen)
        while not seen or seen[-1][0] != 8:
            listen(reader, seen)
    except (OSError, ValueError) as error:
        seen.append([type(error).__name__, ""])


def listen(reader, seen):
    """Reads one frame."""
    opcode, payload = read_frame(reader)
    text = payload.decode("latin-1")[:2000]
    seen.append([opcode, json.loads(text) if text.startswith("{") and opcode == 1 else text])
