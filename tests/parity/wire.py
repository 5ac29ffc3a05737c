"""One HTTP/1.1 exchange over a raw socket: the bytes of a request are part of what is compared."""

import socket
from dataclasses import dataclass, field


@dataclass
class Answer:
    """What a server answered. `headers` keeps the order and the repetitions; names are lower-case."""

    status: int
    headers: list
    body: bytes
    broken: str = ""
    """Why the answer is not whole, if it is not."""
    at: float = 0.0
    """When it was complete, in seconds since 1970."""

    def header(self, name):
        """The first value of a header, or None."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass
class Request:
    """What is sent. `raw` replaces everything else."""

    method: str
    path: str
    headers: list = field(default_factory=list)
    body: bytes = None
    raw: bytes = None

    def encode(self):
        """The bytes on the wire; Content-Length is added where there is a body and no framing of its own."""
        if self.raw is not None:
            return self.raw
        headers = list(self.headers)
        names = {name.lower() for name, _ in headers}
        if self.body is not None and not names & {"content-length", "transfer-encoding"}:
            headers.append(("Content-Length", str(len(self.body))))
        head = f"{self.method} {self.path} HTTP/1.1\r\n".encode("latin-1")
        for name, value in headers:
            head += name.encode("latin-1") + b": " + value.encode("utf-8", "surrogateescape") + b"\r\n"
        return head + b"\r\n" + (self.body or b"")


def exchange(port, request, timeout=60.0):
    """Sends `request` to a local port on a connection of its own and reads one answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as conn:
        conn.sendall(request.encode())
        return _read(conn, request.method)


def _read(conn, method):
    reader = conn.makefile("rb")
    line = reader.readline()
    if not line:
        return Answer(0, [], b"", "closed without an answer")
    status = int(line.split()[1])
    headers = []
    for line in iter(reader.readline, b"\r\n"):
        if not line:
            return Answer(status, headers, b"", "closed within the head")
        name, _, value = line.decode("latin-1").partition(":")
        headers.append((name.strip().lower(), value.strip()))
    body, broken = _body(reader, method, status, dict(headers))
    return Answer(status, headers, body, broken)


def _body(reader, method, status, headers):
    if method == "HEAD" or status in (204, 304) or status < 200:
        return b"", ""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return _chunks(reader)
    if "content-length" in headers:
        wanted = int(headers["content-length"])
        body = reader.read(wanted)
        return body, "" if len(body) == wanted else "shorter than its Content-Length"
    return reader.read(), ""


def _chunks(reader):
    body = b""
    while True:
        size = reader.readline()
        if not size.strip():
            return body, "cut within its chunks"
        length = int(size.split(b";")[0], 16)
        if length == 0:
            reader.readline()
            return body, ""
        piece = reader.read(length)
        reader.readline()
        body += piece
        if len(piece) < length:
            return body, "cut within a chunk"
