# SPDX-License-Identifier: Apache-2.0
"""Secure deletes: STREAM.MSG.DELETE without no_erase takes the bytes of a message from every file of the store within some seconds, whatever
happens to the process meanwhile; its neighbours stay."""
import asyncio
import json
import os
import random
import subprocess
import time

import pytest

pytestmark = [pytest.mark.jetstream, pytest.mark.thebes, pytest.mark.timeout(120)]

GONE_SECONDS = 30


def secret(i):
    return b"<secret %06d %s>" % (i, b"%08x" % (i * 2654435761 % 2**32))


ZEROES = bytes(1 << 18)


def written(path):
    """What a file holds, without the zeroes of which most of the journal consists in a test."""
    parts = []
    with open(path, "rb", buffering=0) as file:
        while part := file.read(len(ZEROES)):
            parts.append(b"\0" if part == ZEROES else part)
    return b"".join(parts)


def files_with(server, needles):
    """{needle: [file, ...]} of the whole store."""
    found = {}
    for path in sorted(server.store.rglob("*")):
        try:
            data = written(path) if path.is_file() else b""
        except FileNotFoundError:
            continue  # unlinked meanwhile
        for needle in needles:
            if needle in data:
                found.setdefault(needle, []).append(str(path.relative_to(server.store)))
    return found


def wait_gone(server, needles, seconds=GONE_SECONDS):
    deadline = time.monotonic() + seconds
    while found := files_with(server, needles):
        assert time.monotonic() < deadline, f"still there after {seconds} s: {found}"
        time.sleep(0.2)


async def delete(nc, stream, seq, **options):
    answer = await nc.request(f"$JS.API.STREAM.MSG.DELETE.{stream}", json.dumps({"seq": seq, **options}).encode(), timeout=10)
    assert json.loads(answer.data).get("success") is True, answer.data


async def fill(js, count, first=1):
    """Several to an entry: so that a secret has neighbours in its own."""
    for at in range(first, first + count, 50):
        pending = [js.publish(f"s.{i % 7}", secret(i), headers={"Which": f"head-{secret(i).decode()}"})
                   for i in range(at, min(at + 50, first + count))]
        await asyncio.gather(*pending)


async def check_neighbours(js, count, deleted):
    sub = await js.pull_subscribe("s.>", stream="S")
    seen = {}
    while len(seen) < count - len(deleted):
        for m in await sub.fetch(200, timeout=10):
            seen[m.metadata.sequence.stream] = m.data
    assert seen == {i: secret(i) for i in range(1, count + 1) if i not in deleted}


def check_whole(server):
    done = subprocess.run([str(server.binary), "check", str(server.store), "--json"], capture_output=True, text=True, timeout=60)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and [r for r in rows if r["kind"] == "damage"] == [], done.stdout + done.stderr


async def test_what_is_deleted_is_nowhere_in_the_store(server, connect):
    nc = await connect(server)
    js = nc.jetstream(timeout=10)
    await js.add_stream(name="S", subjects=["s.>"])
    await fill(js, 1000)
    await js.publish("s.kept", secret(1001))
    deleted = {1, 2, 3, 77, 500, 1000}
    assert set(files_with(server, [secret(i) for i in deleted])) == {secret(i) for i in deleted}
    for seq in deleted:
        await delete(nc, "S", seq)
    wait_gone(server, [secret(i) for i in deleted])
    await check_neighbours(js, 1001, deleted)

    # and of what is published and deleted again and again, the more while what was asked for first is being erased
    last = 1001
    deadline = time.monotonic() + GONE_SECONDS
    while last < 1010 or files_with(server, [secret(1002)]):
        assert time.monotonic() < deadline
        last += 1
        await js.publish("s.more", secret(last))
        await delete(nc, "S", last)
    wait_gone(server, [secret(i) for i in range(1002, last + 1)])
    assert server.stop() == 0
    assert files_with(server, [secret(i) for i in deleted]) == {}
    check_whole(server)


async def test_a_killed_server_goes_on_erasing(make_server, connect):
    server = make_server(jetstream=True)
    choice = random.Random(int(os.environ.get("THEBES_SEED", "7")))
    nc = await connect(server)
    js = nc.jetstream(timeout=10)
    await js.add_stream(name="S", subjects=["s.>"])
    await fill(js, 500)
    deleted = set()
    for _ in range(6):
        now = set(choice.sample(range(1, 501), 4)) - deleted
        for seq in now:
            await delete(nc, "S", seq)
        deleted |= now
        time.sleep(choice.uniform(0, 2.5))
        server.kill()
        check_whole(server)
        server.start()
        nc = await connect(server)
    js = nc.jetstream(timeout=10)
    wait_gone(server, [secret(i) for i in deleted])
    await check_neighbours(js, 500, deleted)
    server.kill()
    assert files_with(server, [secret(i) for i in deleted]) == {}
    check_whole(server)


async def test_no_erase_leaves_the_bytes_to_time(server, connect):
    nc = await connect(server)
    js = nc.jetstream(timeout=10)
    await js.add_stream(name="S", subjects=["s.>"])
    await fill(js, 20)
    await js.add_stream(name="OTHER", subjects=["other"])
    await js.publish("other", secret(21))
    await delete(nc, "S", 7, no_erase=True)
    await delete(nc, "OTHER", 1)
    wait_gone(server, [secret(21)])  # erasing has been everywhere
    assert files_with(server, [secret(7)]), "nobody asked for this"
