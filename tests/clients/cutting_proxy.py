"""A TCP proxy that cuts each connection after some bytes, in the middle of whatever that is."""

import socket
import threading


class CuttingProxy:
    """Listens on a port of its own and passes on to 127.0.0.1:`port`; cuts a connection after `most` answer bytes."""

    def __init__(self, port, most):
        self.target, self.most, self.connections = port, most, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, socket.create_connection(("127.0.0.1", self.target)) as server:
            threading.Thread(target=_copy, args=(client, server, None), daemon=True).start()
            # Another length each time, so that cuts fall anywhere.
            _copy(server, client, self.most + 37 * self.connections)
            for side in (client, server):
                try:
                    side.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        """Takes no more connections."""
        self.listener.close()


def _copy(source, target, most):
    try:
        while most is None or most > 0:
            piece = source.recv(4096 if most is None else min(4096, most))
            if not piece:
                return
            target.sendall(piece)
            most = most and most - len(piece)
    except OSError:
        pass
