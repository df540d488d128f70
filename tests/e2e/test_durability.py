# SPDX-License-Identifier: Apache-2.0
"""Acknowledged means durable. Publishers in three languages and a consumer work while the server is killed, or loses its power, again and again;
then every acknowledged message must be there, at its sequence, in its publisher's order, no message id twice, and nothing whose ack was
confirmed may come again.

THEBES_DURABILITY_RUNS sets the number of runs (30 in scripts/test --full), THEBES_DURABILITY_SEED repeats one run's choices; the moments of
the kills depend on the machine too.
"""
import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import nats.errors
import pytest

import harness
from powercut import Rig

RUNS = int(os.environ.get("THEBES_DURABILITY_RUNS", "4"))
SEED = os.environ.get("THEBES_DURABILITY_SEED")
HERE = Path(__file__).parent

pytestmark = [pytest.mark.durability, pytest.mark.jetstream, pytest.mark.timeout(240)]


class Client:
    """A publisher or worker process whose lines are collected as they come; started again after every restart of the server."""

    def __init__(self, name, *argv):
        self.name, self.argv, self.lines, self.process = name, [str(a) for a in argv], [], None
        self.errors = tempfile.TemporaryFile("w+")

    def start(self, server, *arguments):
        self.process = subprocess.Popen(self.argv + [str(a) for a in arguments], env={**os.environ, "NATS_URL": server.url()},
                                        stdout=subprocess.PIPE, stderr=self.errors, text=True)
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout))
        self.reader.start()

    def finish(self):
        """Waits until it has noticed that the server is gone."""
        try:
            code = self.process.wait(timeout=30)
            self.errors.seek(0)
            assert code == 0, f"{self.name} ended with {code}: {self.errors.read()[-2000:]}"
        finally:
            self.process.kill()
            self.reader.join()
            self.process.stdout.close()


class Publisher(Client):
    def acked(self):
        """{number: sequence}; a number acknowledged twice must have got the same sequence both times."""
        found = {}
        for line in self.lines:
            if not line.endswith("\n"):
                continue
            number, seq = map(int, line.split())
            assert found.setdefault(number, seq) == seq, f"{self.name}-{number} was acknowledged at {found[number]} and again at {seq}"
        return found

    def first_unacked(self):
        acked, number = self.acked(), 1
        while number in acked:
            number += 1
        return number


def make_publishers():
    return [
        Publisher("python-a", sys.executable, HERE / "publisher.py", "python-a"),
        Publisher("python-b", sys.executable, HERE / "publisher.py", "python-b"),
        Publisher("go", harness.BUILD / "tools" / "bin" / "nats_go_publisher", "go"),
        Publisher("node", shutil.which("node"), harness.BUILD / "e2e-node" / "publisher.mjs", "node"),
    ]


def body_of(name, number):
    return f"{name}-{number}".encode() + b"." * (number * 37 % 700)


def violations(acked, stored):
    """What is wrong with a stream: acked is {name: {number: sequence}}, stored [(sequence, message id, body)] in order of sequence."""
    wrong, by_seq, seen, last = [], {}, {}, {}
    for seq, message_id, body in stored:
        name, number = message_id.rsplit("-", 1)
        number = int(number)
        by_seq[seq] = message_id
        if message_id in seen:
            wrong.append(f"{message_id} is stored at {seen[message_id]} and at {seq}")
        if number <= last.get(name, 0):
            wrong.append(f"{message_id} at {seq} comes after number {last[name]}")
        if body != body_of(name, number):
            wrong.append(f"{message_id} at {seq} has another body: {body[:80]!r}")
        seen[message_id], last[name] = seq, number
    for name, numbers in acked.items():
        for number, seq in numbers.items():
            if by_seq.get(seq) != f"{name}-{number}":
                wrong.append(f"{name}-{number} was acknowledged at {seq}, where {by_seq.get(seq, 'nothing')} is")
    return wrong


async def read_stream(connect, server):
    """[(sequence, message id, body)] of the whole stream D, or nothing if it does not exist."""
    js = (await connect(server)).jetstream(timeout=30)
    if "D" not in [s.config.name for s in await js.streams_info()]:
        return []
    total = (await js.stream_info("D")).state.messages
    info = await js.add_consumer("D", ack_policy="none", deliver_policy="all", inactive_threshold=60)
    sub = await js.pull_subscribe_bind(info.name, "D")
    stored = []
    while len(stored) < total:
        for msg in await sub.fetch(min(500, total - len(stored)), timeout=20):
            stored.append((msg.metadata.sequence.stream, msg.headers["Nats-Msg-Id"], msg.data))
    return stored


async def create(connect, server):
    js = (await connect(server)).jetstream(timeout=30)
    await js.add_stream(name="D", subjects=["d.>"], duplicate_window=3600)
    await js.add_consumer("D", durable_name="W", ack_policy="explicit", ack_wait=5, max_ack_pending=10000)


def work_until(server, publishers, worker, wanted):
    """Everybody works until `wanted` more publishes have been acknowledged, at least one of each; then the server is killed."""
    before = {p.name: len(p.lines) for p in publishers}

    def enough():
        new = [len(p.lines) - before[p.name] for p in publishers]
        return min(new) > 0 and sum(new) >= wanted

    for p in publishers:
        p.start(server, p.first_unacked())
    worker.start(server)
    try:
        harness.until(enough, f"{wanted} acknowledgements, some for everybody", seconds=60, pause=0.0005)
    finally:
        server.kill()
        for client in publishers + [worker]:
            client.finish()


async def check_worker(connect, server, worker, stored):
    """Takes what the worker's consumer still has to deliver. Nothing of it may have been confirmed before, and nothing may be missing but what
    the worker was about to ack when the server went: those acks may have arrived."""
    js = (await connect(server)).jetstream(timeout=30)
    words = [line.split() for line in worker.lines if line.endswith("\n")]
    done = {int(seq) for word, seq in words if word == "done"}
    tried = {int(seq) for word, seq in words if word == "try"}
    sub = await js.pull_subscribe_bind("W", "D")
    everything, rest = {seq for seq, _, _ in stored}, set()
    while True:
        info = await js.consumer_info("D", "W")
        if info.num_pending == 0 and info.num_ack_pending == 0:
            break
        messages = await sub.fetch(1000, timeout=20)
        rest.update(msg.metadata.sequence.stream for msg in messages)
        await asyncio.gather(*(msg.ack_sync(timeout=20) for msg in messages))
    assert not rest & done, f"confirmed acks were forgotten: {sorted(rest & done)[:20]}"
    missing = everything - rest - tried
    assert not missing, f"never delivered to the worker's consumer: {sorted(missing)[:20]}"


@pytest.mark.other_client
@pytest.mark.parametrize("run", range(RUNS))
async def test_kills_and_power_cuts(run, make_server, connect, tmp_path):
    seed = int(SEED) if SEED else random.SystemRandom().randrange(1 << 32)
    rng = random.Random(seed)
    cuts = harness.is_thebes() and run % 4 != 3  # the calls of a static Go binary cannot be seen, and one run in four only kills
    rig = Rig(tmp_path / "server0" / "store", tmp_path)
    server = make_server(jetstream=True, env=rig.env() if cuts else {})
    await create(connect, server)
    publishers, worker = make_publishers(), Client("worker", sys.executable, HERE / "worker.py")
    history = []
    for _ in range(rng.randint(2, 4)):
        work_until(server, publishers, worker, rng.choice([1, 50, 500, 3000]))
        if cuts and rng.random() < 0.7:
            history.append("cut, %d writes and %d names unsynced" % rig.cut(rng.random()))
        else:
            history.append("kill")
        server.start()
        stored = await read_stream(connect, server)
        wrong = violations({p.name: p.acked() for p in publishers}, stored)
        assert not wrong, f"seed {seed}, {history}: {len(wrong)} violations in {len(stored)} messages: {wrong[:10]}"
    if harness.is_thebes():
        await check_worker(connect, server, worker, stored)


@pytest.mark.thebes
@pytest.mark.other_client
async def test_the_test_finds_a_server_that_does_not_sync(make_server, connect, tmp_path):
    """The same with syncs that do nothing: if that were not noticed, the runs above would prove nothing."""
    rig = Rig(tmp_path / "server0" / "store", tmp_path)
    server = make_server(jetstream=True, env=rig.env(ignore_sync=True))
    await create(connect, server)
    publishers, worker = make_publishers(), Client("worker", sys.executable, HERE / "worker.py")
    work_until(server, publishers, worker, 500)
    rig.cut(1, keep="nothing")
    server.start()
    wrong = violations({p.name: p.acked() for p in publishers}, await read_stream(connect, server))
    assert len(wrong) >= 500


def test_violations_are_seen():
    stored = [(1, "a-1", body_of("a", 1)), (2, "b-1", body_of("b", 1)), (3, "a-2", body_of("a", 2))]
    acked = {"a": {1: 1, 2: 3}, "b": {1: 2}}
    assert violations(acked, stored) == []
    assert "where nothing is" in violations(acked, stored[:2])[0]
    assert "stored at 1 and at 4" in violations(acked, stored + [(4, "a-1", body_of("a", 1))])[0]
    assert "another body" in violations(acked, stored[:2] + [(3, "a-2", b"a-2")])[0]
    assert "comes after number 2" in violations({}, [(1, "a-2", body_of("a", 2)), (2, "a-1", body_of("a", 1))])[0]
