"""The caller's end of a container's terminal: a console socket, and what comes out of the terminal. Called by play.py."""
import contextlib
import os
import socket
import threading

LIMIT = 20


class Terminal:
    def __init__(self, path):
        self.path, self.name, self.output = path, 'none came', b''
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        os.chmod(path, 0o777)
        self.socket.listen(1)
        self.socket.settimeout(LIMIT)
        self.thread = threading.Thread(target=self.receive, daemon=True)
        self.thread.start()

    def receive(self):
        # The end of the terminal is an error to its reader (EIO).
        with contextlib.suppress(OSError):
            connection, _ = self.socket.accept()
            name, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
            self.name = name.decode()
            while data := os.read(descriptors[0], 4096):
                self.output += data

    def seen(self):
        """What came; it waits for the end of what comes if the terminal is there."""
        if self.name == 'none came':
            self.socket.close()
        self.thread.join(2)
        return {'terminal.name': self.name, 'terminal.output': repr(self.output)}
