# SPDX-License-Identifier: Apache-2.0
"""Starts the server under test as a user would: its binary, flags or a file, a port of its own choosing, a store of its own.

THEBES_BIN names the binary. With a nats-server's path in it the same tests run against that, which keeps them honest:

    THEBES_BIN=/usr/sbin/nats-server build/venv/bin/pytest tests/e2e
"""
import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urlparse

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
START_SECONDS = 30


def binary_under_test():
    return Path(os.environ.get("THEBES_BIN", BUILD / "release" / "thebes"))


def is_thebes(binary=None):
    return not (binary or binary_under_test()).name.startswith("nats-server")


def until(happened, what, seconds=START_SECONDS, pause=0.005):
    """Waits until happened() returns something true and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        result = happened()
        if result:
            return result
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(pause)


async def eventually(ask, is_so, what, seconds=START_SECONDS, pause=0.01):
    """The same for what the server is asked: awaits ask() until is_so(answer), and returns that answer."""
    deadline = time.monotonic() + seconds
    while not is_so(answer := await ask()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s, but {answer}")
        await asyncio.sleep(pause)
    return answer


class Server:
    """A server process. start() may be called again after kill() or stop(): the same store, the same port."""

    def __init__(self, directory, *flags, config=None, jetstream=False, binary=None, env=None):
        self.directory = Path(directory)
        self.binary = binary or binary_under_test()
        self.store = self.directory / "store"
        self.log_path = self.directory / "server.log"
        self.flags = list(flags)
        self.env = env or {}
        self.port = -1
        self.process = None
        if jetstream:
            self.flags += ["-js", "-sd", str(self.store)]
        if config is not None:
            path = self.directory / "server.conf"
            path.write_text(config)
            self.flags += ["-c", str(path)]

    def argv(self):
        command = [str(self.binary)] + (["server"] if is_thebes(self.binary) else [])
        return command + ["-a", "127.0.0.1", "-p", str(self.port), "--ports_file_dir", str(self.directory)] + self.flags

    def start(self):
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen(self.argv(), stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL, env={**os.environ, **self.env})
        try:
            ports = until(self._read_ports, f"the ports file of {self.binary}")
        except BaseException:
            self.end()
            raise
        self.port = urlparse(ports["nats"][0]).port
        return self

    def _read_ports(self):
        """The ports file, which is named after the program and its process id, once it is whole."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{' '.join(self.argv())} ended with {self.process.returncode}:\n{self.log_text()[-3000:]}")
        for path in self.directory.glob(f"*_{self.process.pid}.ports"):
            try:
                return json.loads(path.read_text())
            except json.JSONDecodeError:
                return None

    def url(self, user=None, password=None):
        credentials = f"{user}:{password}@" if user else ""
        return f"nats://{credentials}127.0.0.1:{self.port}"

    def info(self):
        """The INFO that a client gets first."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as s:
            return json.loads(s.makefile("rb").readline()[len(b"INFO "):])

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()
        self.log.close()

    def again(self):
        """kill -9, and the next start."""
        self.kill()
        return self.start()

    def stop(self):
        """Asks it to end, as an init system does, and returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=START_SECONDS)
        self.log.close()
        return code

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def end(self):
        if self.is_running():
            self.kill()

    def log_text(self):
        return self.log_path.read_text(errors="replace")


def run_client(argv, server, env=None, timeout=100, input=None):
    """Runs another program against the server. Its output is the test's when it fails."""
    done = subprocess.run([str(a) for a in argv], env={**os.environ, "NATS_URL": server.url(), **(env or {})}, input=input,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
    assert done.returncode == 0, f"{' '.join(map(str, argv))} ended with {done.returncode}:\n{done.stdout}\nserver:\n{server.log_text()[-3000:]}"
    return done.stdout


def says_jetstream(directory):
    """Whether the server under test offers JetStream, in its own words."""
    shutil.rmtree(directory, ignore_errors=True)
    Path(directory).mkdir(parents=True)
    server = Server(directory, jetstream=True).start()
    try:
        return bool(server.info().get("jetstream"))
    finally:
        server.end()
