# SPDX-License-Identifier: Apache-2.0
"""What is stored costs disk, not memory and not time to start: after kill -9 the server serves again without having read what it had settled.

THEBES_TEST_FULL stores 10 million messages and holds the server to the promised times and sizes; the default run stores little in a small ring."""
import asyncio
import os
import socket
import threading
import time
from pathlib import Path

import harness
import pytest

pytestmark = [pytest.mark.jetstream, pytest.mark.thebes]

FULL = bool(os.environ.get("THEBES_TEST_FULL"))
MESSAGES = 10_000_000 if FULL else 250_000
UNANSWERED = 4_000_000 if FULL else 1_000_000
RING = "" if FULL else "journal { slot_size: 1MB, slot_count: 4 }"
RING_BYTES = 6 * 64 * 2**20 if FULL else 4 * 10**6
PAYLOAD = b"x" * 128
SANITIZED = b"__asan_init" in harness.binary_under_test().read_bytes()  # its shadow memory is not ours
if SANITIZED:
    UNANSWERED = 100_000


def publish_all(server, subject, count):
    """Publishes without acknowledgements, as fast as the server takes them; the PONG at the end says that it has read all."""
    one = b"PUB %s %d\r\n%s\r\n" % (subject, len(PAYLOAD), PAYLOAD)
    chunk = one * 1000
    with socket.create_connection(("127.0.0.1", server.port), timeout=300) as s:
        stream = s.makefile("rb")
        stream.readline()
        s.sendall(b'CONNECT {"verbose":false}\r\n')
        for _ in range(count // 1000):
            s.sendall(chunk)
        s.sendall(b"PING\r\n")
        while (line := stream.readline()) != b"PONG\r\n":
            if line == b"PING\r\n":
                s.sendall(b"PONG\r\n")
            assert line.strip() in (b"PING", b"+OK"), line


def anonymous_bytes(pid):
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


class Peak(threading.Thread):
    """The most anonymous memory that a process is seen with inside the block."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.bytes, self.over = pid, 0, threading.Event()

    def run(self):
        while not self.over.wait(0.02):
            self.bytes = max(self.bytes, anonymous_bytes(self.pid))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self.over.set()
        self.join()


def read_bytes(pid):
    """Bytes that the process asked files and sockets for, its ended children included."""
    fields = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(fields["rchar"])


def tree_bytes(directory, pattern):
    return sum(p.stat().st_size for p in directory.rglob(pattern))


def falls_below(server, bound):
    """Anonymous memory when it is below the bound: what is free is given back within seconds."""
    def now():
        return anonymous_bytes(server.process.pid)

    if not SANITIZED:
        harness.until(lambda: now() < bound, f"anonymous memory below {bound} bytes", seconds=10)
    return now()


async def test_what_is_stored_costs_neither_memory_nor_start(make_server, connect):
    server = make_server(jetstream=True, config=RING)
    js = (await connect(server)).jetstream(timeout=60)
    await js.add_stream(name="S", subjects=["s"])
    publish_all(server, b"s", MESSAGES)
    await harness.eventually(lambda: js.stream_info("S"), lambda i: i.state.messages >= MESSAGES, f"{MESSAGES} messages stored", seconds=300)
    before = anonymous_bytes(server.process.pid)
    server.kill()

    segments = tree_bytes(server.store, "*.seg")
    state = tree_bytes(server.store, "state.lmdb")
    began = time.monotonic()
    server.start()
    js = (await connect(server)).jetstream(timeout=60)
    info = await js.stream_info("S")
    took, read = time.monotonic() - began, read_bytes(server.process.pid)
    memory = anonymous_bytes(server.process.pid)
    assert (info.state.messages, info.state.last_seq) == (MESSAGES, MESSAGES)
    print(f"{segments / 2**20:.0f} MiB in segments; serving after {took * 1e3:.0f} ms and {read / 2**20:.1f} MiB read; "
          f"anonymous memory {before / 2**20:.1f} MiB when stored, {memory / 2**20:.1f} MiB after the start")
    # The ring, which is searched once more behind its end; the state, which is walked twice before it is believed; libraries.
    assert read < 2 * RING_BYTES + 4 * state + 16 * 2**20
    assert segments > 2 * read, "the bound says nothing"
    if FULL:
        assert took < 1.0
    if not SANITIZED:
        assert before < 64 * 2**20 and memory < 64 * 2**20
    # And what was not read is there.
    for seq in (1, MESSAGES // 2, MESSAGES):
        assert (await js.get_msg("S", seq)).data == PAYLOAD


async def test_who_asks_for_no_answer_costs_no_memory(make_server, connect):
    """A million messages, of which the stream keeps a thousand, as fast as the server reads, from four that wait for nothing: what waits for
    the disk is bounded, and what the burst left behind is given back."""
    server = make_server(jetstream=True)
    js = (await connect(server)).jetstream(timeout=60)
    await js.add_stream(name="S", subjects=["s"], max_msgs=1000)
    publishers = [threading.Thread(target=publish_all, args=(server, b"s", UNANSWERED // 4)) for _ in range(4)]
    with Peak(server.process.pid) as peak:
        for p in publishers:
            p.start()
        for p in publishers:
            await asyncio.to_thread(p.join)
    assert (await js.stream_info("S")).state.last_seq == UNANSWERED
    after = falls_below(server, 32 * 2**20)
    server.kill()
    server.start()
    js = (await connect(server)).jetstream(timeout=60)
    assert (await js.stream_info("S")).state.messages == 1000
    again = falls_below(server, 16 * 2**20)
    print(f"anonymous memory {peak.bytes / 2**20:.1f} MiB at most, {after / 2**20:.1f} MiB when it was over, {again / 2**20:.1f} MiB after a start")
    if not SANITIZED:
        assert peak.bytes < 64 * 2**20
