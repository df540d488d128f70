# SPDX-License-Identifier: Apache-2.0
"""`thebes WORD …` as a person or a script runs it, and what its tests ask of what it prints."""
import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from harness import binary_under_test

MINE = binary_under_test  # the command line is always that of the binary under test


def environment(more=None):
    """Ours without what would point at another server."""
    return {**{k: v for k, v in os.environ.items() if not k.startswith(("THEBES_", "NATS_"))}, **(more or {})}


def thebes(*words, input="", env=None, text=True, timeout=60, **how):
    """Exit code, standard output, standard error of `thebes word …`."""
    done = subprocess.run([str(MINE()), *map(str, words)], env=environment(env), input=input, capture_output=True, text=text, timeout=timeout, **how)
    err = done.stderr if text else done.stderr.decode()
    assert "AddressSanitizer" not in err and "runtime error" not in err, err
    return done.returncode, done.stdout, done.stderr


def default_signals():
    """As a shell in the foreground has them: under nohup, or in the background of a script, some are ignored, and what is ignored is inherited."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def spawn(*words, env=None, **how):
    return subprocess.Popen([str(MINE()), *map(str, words)], env=environment(env), preexec_fn=default_signals,
                            **{"stdout": subprocess.PIPE, "text": True, **how})


def in_pipe(pipe):
    """How many bytes lie in it, whichever end it is."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]


def is_full(pipe):
    """Whether who writes to it has to wait, whichever end it is."""
    end = os.open(f"/proc/self/fd/{pipe.fileno()}", os.O_WRONLY | os.O_NONBLOCK)
    try:
        return not select.select([], [end], [], 0)[1]
    finally:
        os.close(end)


def is_asleep(process):
    """It has done what it could, and waits for something."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


@pytest.fixture
def run(server):
    """run(word, ...): thebes() against the server; url=False says nothing of it. run.spawn: the process."""

    def call(*words, url=True, **how):
        return thebes(*words, *(["--server", server.url()] if url else []), **how)

    call.spawn = lambda *words, **how: spawn(*words, "--server", server.url(), **how)
    return call


def good(result):
    code, out, err = result
    assert code == 0, (out, err)
    return out


def lines(result):
    return [json.loads(line) for line in good(result).splitlines()]


def bad(result, code, *words):
    """Failed with that code, and said these words in one sentence."""
    got, out, err = result
    assert got == code and err.startswith("thebes: ") and err.count("\n") == 1, (got, out, err)
    for word in words:
        assert word in err, err
