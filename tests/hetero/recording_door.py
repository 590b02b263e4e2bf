"""A door in front of a server that keeps every byte that goes through it, both ways."""

import socket
import threading


class Door:
    """Stands before a port of this machine; `sent` is what clients sent through it, `received` what they got."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.sent, self.received = bytearray(), bytearray()

    def __enter__(self) -> "Door":
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *ended: object) -> None:
        self._door.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._door.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            for source, target, kept in ((near, far, self.sent), (far, near, self.received)):
                threading.Thread(target=self._pass, args=(source, target, kept), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, kept: bytearray) -> None:
        try:
            while data := source.recv(1 << 16):
                kept += data
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            end.close()
