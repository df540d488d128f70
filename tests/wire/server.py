# SPDX-License-Identifier: Apache-2.0
"""A server process whose log is read line by line, so that tests wait for what happens and never for time to pass."""
import ctypes
import json
import os
import re
import select
import signal
import subprocess
import tempfile
import threading

LINE_SECONDS = 10


def wait_for_file(directory, suffix):
    """The name of a file that somebody has written and closed: waits for the directory's events."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(0)
    libc.inotify_add_watch(watch, directory.encode(), 0x8 | 0x80)  # closed after writing, moved to
    try:
        while True:
            found = [name for name in os.listdir(directory) if name.endswith(suffix)]
            if found and os.path.getsize(os.path.join(directory, found[0])):
                return found[0]
            if not select.select([watch], [], [], LINE_SECONDS)[0]:
                raise AssertionError(f"no file *{suffix} appeared in {directory}")
            os.read(watch, 4096)
    finally:
        os.close(watch)


class Server:
    """Starts `binary` under the name nats-server on a free port and waits until it is ready (or has ended)."""

    def __init__(self, binary, directory, config=None, flags=(), wait=True):
        self.dir = tempfile.mkdtemp(dir=directory)
        self.name = os.path.join(self.dir, "nats-server")
        os.symlink(os.path.realpath(binary), self.name)
        command = [self.name, "-a", "127.0.0.1", "--ports_file_dir", self.dir]
        if "-p" not in flags:
            command += ["-p", "-1"]
        self.config = os.path.join(self.dir, "server.conf")
        if config is not None:
            self.configure(config)
            command += ["-c", self.config]
        self.lines = []
        self.changed = threading.Condition()
        self.process = subprocess.Popen(command + list(flags), cwd=self.dir, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        if wait:
            self.wait_line("Server is ready")
            self.ports = self._read_ports()
            self.port = int(self.ports["nats"][0].rsplit(":", 1)[1])

    def _read(self):
        for line in self.process.stderr:
            with self.changed:
                self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.lines.append(None)
            self.changed.notify_all()

    def _read_ports(self):
        with open(os.path.join(self.dir, wait_for_file(self.dir, ".ports"))) as f:
            return json.load(f)

    def configure(self, config):
        with open(self.config, "w") as f:
            f.write(config if isinstance(config, str) else "\n".join(config) + "\n")

    def wait_line(self, pattern, after=0):
        """The first line from number `after` on that holds the pattern; returns the number behind it."""
        def found():
            for number, line in enumerate(self.lines[after:], after):
                if line is None:
                    raise AssertionError(f"the server ended before it said {pattern!r}:\n" + self.log())
                if re.search(pattern, line):
                    return number + 1
            return 0
        with self.changed:
            number = self.changed.wait_for(found, LINE_SECONDS)
        if not number:
            raise AssertionError(f"the server did not say {pattern!r}:\n" + self.log())
        return number

    def log(self):
        return "\n".join(line for line in self.lines if line is not None)

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        """The exit code. What a sanitizer has found is an error, whatever the code is."""
        code = self.process.wait(30)
        self.reader.join(LINE_SECONDS)
        if re.search("runtime error:|(ERROR|WARNING): [A-Za-z]+Sanitizer", self.log()):
            raise AssertionError("a sanitizer has found something:\n" + self.log()[-5000:])
        return code

    def stop(self):
        if self.process.poll() is None:
            self.signal(signal.SIGINT)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.wait()
