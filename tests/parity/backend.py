"""A service behind the proxy: tells what it received, and answers in odd ways when asked to. WebSockets are echoed."""

import base64
import hashlib
import json
import socket
import threading
import time

ODD = {
    "/redir": "302 Found\r\nLocation: /target?x=1\r\nContent-Length: 0",
    "/redirabs": "302 Found\r\nLocation: http://other.example/x\r\nContent-Length: 0",
    "/redirpr": "302 Found\r\nLocation: //other.example/x\r\nContent-Length: 0",
    "/redirrel": "302 Found\r\nLocation: rel\r\nContent-Length: 0",
    "/cookies": "200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0",
    "/hop": "200 OK\r\nConnection: close, X-Named\r\nX-Named: 1\r\nKeep-Alive: timeout=5\r\nTE: x\r\nX-Kept: 1\r\nContent-Length: 0",
    "/named": "200 OK\r\nServer: backend/1\r\nX-Request-ID: of-backend\r\nVary: Accept\r\nAccess-Control-Allow-Origin: *\r\nDate: Mon, 01 Jan 2001 00:00:00 GMT\r\nContent-Length: 0",
    "/empty": "204 No Content",
    "/notmodified": '304 Not Modified\r\nETag: "x"',
    "/error": "503 Service Unavailable\r\nRetry-After: 7\r\nContent-Type: text/html\r\nContent-Length: 0",
    "/gzip": "200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0",
}
"""Path to the head of the answer."""


class Backend:
    """Serves 127.0.0.1:`port` until the `with` block ends."""

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=_serve, args=(conn,), daemon=True).start()


def _serve(conn):
    with conn:
        reader = conn.makefile("rb")
        try:
            while _answer(conn, reader):
                pass
        except (OSError, ValueError):
            # The proxy left in the midst of it: some cases are about that.
            return


def _answer(conn, reader):
    line = reader.readline().decode("latin-1").split()
    if len(line) < 3:
        return False
    headers = []
    for raw in iter(reader.readline, b"\r\n"):
        name, _, value = raw.decode("latin-1").partition(":")
        headers.append([name, value.strip()])
    small = {name.lower(): value for name, value in headers}
    path = line[1].split("?")[0]
    if small.get("upgrade", "").lower() == "websocket":
        _websocket(conn, reader, path, small)
        return False
    body = _body(reader, small)
    if path in ODD:
        conn.sendall(f"HTTP/1.1 {ODD[path]}\r\n\r\n".encode())
        return True
    if path in BROKEN:
        BROKEN[path](conn)
        return False
    seen = {}
    for name, value in sorted(headers, key=lambda header: header[0].lower()):
        seen.setdefault(name.lower(), []).append(value)
    text = json.dumps({"method": line[0], "target": line[1], "headers": seen, "body": body.decode("latin-1")}).encode()
    conn.sendall(
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text
    )
    return True


def _body(reader, headers):
    if "chunked" in headers.get("transfer-encoding", ""):
        body = b""
        while size := int(reader.readline().split(b";")[0], 16):
            body += reader.read(size)
            reader.readline()
        reader.readline()
        return body
    return reader.read(int(headers.get("content-length", 0)))


def _chunked(conn):
    conn.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n")
    for piece in (b"data: 1\n\n", b"data: 2\n\n"):
        conn.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        time.sleep(0.02)
    conn.sendall(b"0\r\n\r\n")


BROKEN = {
    "/drop": lambda conn: None,
    "/junk": lambda conn: conn.sendall(b"this is not HTTP\r\n\r\n"),
    "/short": lambda conn: conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
    "/cut": lambda conn: conn.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    "/close": lambda conn: conn.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end"),
    "/old": lambda conn: conn.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold"),
    "/chunked": _chunked,
}
"""Path to what is written before the connection is closed."""


def _websocket(conn, reader, path, headers):
    if path == "/refuse":
        conn.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        return
    accept = base64.b64encode(hashlib.sha1((headers["sec-websocket-key"] + GUID).encode()).digest()).decode()
    head = f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
    if "sec-websocket-protocol" in headers:
        head += f"Sec-WebSocket-Protocol: {headers['sec-websocket-protocol'].split(',')[0].strip()}\r\n"
    conn.sendall(f"{head}\r\n".encode())
    if path == "/ask":
        wanted = {name: value for name, value in headers.items() if not name.startswith("sec-websocket-")}
        send_frame(conn, 1, json.dumps(wanted).encode())
    while True:
        opcode, payload = read_frame(reader)
        if path == "/close":
            opcode, payload = 8, (4001).to_bytes(2, "big") + b"enough"
        send_frame(conn, opcode, payload)
        if opcode == 8:
            return


GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 section 1.3."""


def read_frame(reader):
    """One frame without fragmentation: its opcode and payload, unmasked."""
    first, second = reader.read(2)
    length = second & 127
    if length >= 126:
        length = int.from_bytes(reader.read(2 if length == 126 else 8), "big")
    mask = reader.read(4) if second & 128 else bytes(4)
    payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(reader.read(length)))
    return first & 15, payload


def send_frame(conn, opcode, payload, mask=False):
    """Sends one whole frame."""
    head = bytes([128 | opcode])
    flag = 128 if mask else 0
    if len(payload) < 126:
        head += bytes([flag | len(payload)])
    else:
        head += bytes([flag | 127]) + len(payload).to_bytes(8, "big")
    # A mask of zeros is a mask, and leaves the payload readable.
    conn.sendall(head + (bytes(4) if mask else b"") + payload)
