# SPDX-License-Identifier: Apache-2.0
"""Limits, removals and counts of streams where they meet: messages in flight, limits that are set later, messages read back from disk."""
import asyncio
import json
import socket
import threading

import harness
import nats.errors
import nats.js.errors
import pytest
from nats.js import api

pytestmark = pytest.mark.jetstream

SMALL_SLOTS = "journal { slot_size: 1MB, slot_count: 4 }\n"


@pytest.fixture
def js(nc):
    return nc.jetstream(timeout=10)


async def burst(js, subjects, **options):
    """Publishes all of them without waiting in between; the acks in order."""
    return await asyncio.gather(*[js.publish(s, b"x", **options) for s in subjects])


async def state(js, name):
    return (await js.stream_info(name)).state


@pytest.mark.parametrize("storage", ["file", "memory"])
async def test_a_full_stream_takes_a_smaller_message_for_a_larger_one(js, storage):
    """Discard new: what the message pushes out of its subject makes room, in bytes as in number; messages in flight count."""
    await js.add_stream(name="K", subjects=["k.*"], storage=storage, discard="new", max_bytes=1000, max_msgs_per_subject=1)
    await js.publish("k.a", b"a" * 400)
    await js.publish("k.b", b"b" * 400)
    for name, size in [("k.c", 400), ("k.a", 700)]:
        with pytest.raises(nats.js.errors.APIError) as refused:
            await js.publish(name, b"c" * size)
        assert refused.value.err_code == 10077 and "maximum bytes exceeded" in refused.value.description
    acks = await asyncio.gather(*[js.publish("k.a", b"a" * n) for n in (380, 360, 300)])
    assert [a.seq for a in acks] == [3, 4, 5]
    assert (await state(js, "K")).messages == 2
    assert (await js.get_last_msg("K", "k.a")).data == b"a" * 300


async def test_max_msgs_beside_max_msgs_per_subject(js):
    await js.add_stream(name="K", subjects=["k.*"], max_msgs=10, max_msgs_per_subject=1)
    await burst(js, [f"k.{i}" for i in range(10)])
    await burst(js, ["k.3"] * 50)
    now = await js.stream_info("K", subjects_filter=">")
    assert now.state.messages == 10 and now.state.subjects == {f"k.{i}": 1 for i in range(10)}


async def test_discard_new_counts_replaced_messages(js):
    await js.add_stream(name="K", subjects=["k.*"], max_msgs=3, max_msgs_per_subject=1, discard="new")
    await burst(js, ["k.a", "k.b", "k.a", "k.b", "k.a", "k.c"])
    assert (await state(js, "K")).messages == 3
    with pytest.raises(nats.js.errors.APIError) as error:
        await js.publish("k.d", b"")
    assert error.value.err_code == 10077 and error.value.description == "maximum messages exceeded"
    await js.publish("k.a", b"")


async def test_limit_per_subject_set_later_removes_the_oldest(js, nc):
    await js.add_stream(name="L", subjects=["l.*"])
    await burst(js, [f"l.{i % 3}" for i in range(30)])
    await js.update_stream(name="L", subjects=["l.*"], max_msgs_per_subject=2)
    await burst(js, ["l.0"] * 4)

    now = await harness.eventually(lambda: state(js, "L"), lambda s: s.messages == 6, "the oldest removed", seconds=10)
    assert [(await js.get_last_msg("L", f"l.{i}")).seq for i in range(3)] == [34, 29, 30]
    assert now.first_seq == 26


async def test_newest_of_a_subject_after_it_was_deleted(js):
    await js.add_stream(name="N", subjects=["n.*"])
    await burst(js, ["n.a", "n.b", "n.a", "n.b", "n.a"])
    await js.delete_msg("N", 5)
    assert (await js.get_last_msg("N", "n.a")).seq == 3
    await js.delete_msg("N", 3)
    await js.publish("n.a", b"", headers={"Nats-Expected-Last-Subject-Sequence": "1"})
    sub = await js.pull_subscribe("n.*", "c", config=api.ConsumerConfig(deliver_policy="last_per_subject", filter_subject="n.*"))
    assert [m.metadata.sequence.stream for m in await sub.fetch(2, timeout=5)] == [4, 6]


async def test_purge_beyond_the_end_while_messages_come(js, nc):
    await js.add_stream(name="P", subjects=["p"])
    for _ in range(20):
        acks = asyncio.gather(*[js.publish("p", b"x") for _ in range(20)])
        await nc.request("$JS.API.STREAM.PURGE.P", json.dumps({"seq": 1 << 60}).encode(), timeout=10)
        await acks
    last = await state(js, "P")
    assert last.last_seq == 400
    assert (await js.publish("p", b"y")).seq == 401


async def test_skipped_messages_remember_their_id(js):
    await js.add_stream(name="I", subjects=["i"], retention="interest")
    assert (await js.publish("i", b"", headers={"Nats-Msg-Id": "1"})).seq == 1
    again = await js.publish("i", b"", headers={"Nats-Msg-Id": "1"})
    assert again.seq == 1 and again.duplicate
    assert (await state(js, "I")).messages == 0


async def test_streams_made_at_once(js):
    made = await asyncio.gather(*[js.add_stream(name="same", subjects=["same"]) for _ in range(8)])
    assert {m.config.name for m in made} == {"same"}
    results = await asyncio.gather(*[js.add_stream(name=f"o{i}", subjects=["one.*"]) for i in range(8)], return_exceptions=True)
    assert sum(not isinstance(r, Exception) for r in results) == 1
    assert {r.err_code for r in results if isinstance(r, Exception)} == {10065}


@pytest.mark.parametrize("restart", [False, True])
async def test_pending_is_exact_wherever_a_consumer_begins(make_server, connect, restart):
    server = make_server(jetstream=True, config=SMALL_SLOTS)
    js = (await connect(server)).jetstream(timeout=10)
    await js.add_stream(name="C", subjects=["c.*"])
    for _ in range(30):
        await asyncio.gather(*[js.publish(f"c.{i % 3}", b"x" * 1000) for i in range(300)])
    await js.delete_msg("C", 1501)
    if restart:
        js = (await connect(server.again())).jetstream(timeout=10)
    for start in (1, 2, 1000, 1500, 1501, 5000, 8998, 9000, 9001):
        wanted = [seq for seq in range(start, 9001) if seq != 1501 and (await subject_of(js, seq)) == "c.0"] if start > 8900 else None
        info = await js.add_consumer("C", durable_name=f"d{start}", ack_policy="none", deliver_policy="by_start_sequence",
                                     opt_start_seq=start, filter_subject="c.0")
        sub = await js.pull_subscribe_bind(f"d{start}", "C")
        got = 0
        while got < info.num_pending:
            batch = await sub.fetch(min(500, info.num_pending - got), timeout=10)
            assert batch[0].metadata.num_pending == info.num_pending - got - 1
            got += len(batch)
        with pytest.raises(nats.errors.TimeoutError):
            await sub.fetch(1, timeout=0.2)
        assert wanted is None or len(wanted) == got
    assert (await js.consumer_info("C", "d1")).delivered.consumer_seq in (2999, 3000)


async def subject_of(js, seq):
    return (await js.get_msg("C", seq)).subject


async def test_large_messages_up_to_max_payload(js, nc):
    await js.add_stream(name="B", subjects=["b"])
    limit = nc.max_payload
    bodies = [bytes([i]) * (limit - i) for i in range(20)]
    acks = await asyncio.gather(*[js.publish("b", body) for body in bodies])
    assert [a.seq for a in acks] == list(range(1, 21))
    sub = await js.pull_subscribe("b", "c")
    got = []
    while len(got) < 20:
        got += await sub.fetch(20 - len(got), timeout=10)
    assert [m.data for m in got] == bodies


async def test_memory_storage_and_max_age(js):
    await js.add_stream(name="M", subjects=["m"], storage="memory", max_age=0.3)
    await burst(js, ["m"] * 10)
    assert (await state(js, "M")).messages == 10

    now = await harness.eventually(lambda: state(js, "M"), lambda s: not s.messages, "messages outlived their max_age", seconds=5)
    assert now.first_seq == 11


async def test_settled_state_survives_kills(make_server, connect):
    """Everything that was in the journal has been settled into segments and the state store several times over."""
    server = make_server(jetstream=True, config=SMALL_SLOTS)
    js = (await connect(server)).jetstream(timeout=10)
    await js.add_stream(name="S", subjects=["s.*"], duplicate_window=600)
    await js.add_stream(name="W", subjects=["w"], retention="workqueue")
    await js.add_stream(name="K", subjects=["k.*"], max_msgs_per_subject=2, max_msgs=15)
    sub = await js.pull_subscribe("s.*", "c", config=api.ConsumerConfig(ack_wait=60, max_ack_pending=5000))
    work = await js.pull_subscribe("w", "w")
    acked, open_ = [], []
    for n in range(12):
        await asyncio.gather(*[js.publish(f"s.{i % 7}", b"x" * 1000, headers={"Nats-Msg-Id": f"{n}.{i}"}) for i in range(300)])
        await asyncio.gather(*[js.publish("w", b"%d" % (n * 10 + i)) for i in range(10)])
        await burst(js, [f"k.{i % 10}" for i in range(30)])
        for i, m in enumerate(await sub.fetch(300, timeout=10)):
            (open_ if i % 10 == 0 else acked).append(m.metadata.sequence.stream)
            if i % 10:
                await m.ack()
        for m in await work.fetch(5, timeout=10):
            await m.ack_sync()
        if n % 4 == 3:
            await (await js.pull_subscribe_bind("c", "S")).consumer_info()
            js = (await connect(server.again())).jetstream(timeout=10)
            sub, work = await js.pull_subscribe_bind("c", "S"), await js.pull_subscribe_bind("w", "W")
    info = await js.consumer_info("S", "c")
    assert (info.num_pending, info.delivered.stream_seq) == (0, 3600)
    assert info.ack_floor.stream_seq == open_[0] - 1 and info.num_ack_pending >= len(open_)
    assert (await state(js, "S")).messages == 3600 and (await state(js, "W")).messages == 60
    assert (await state(js, "K")).messages == 15
    again = await js.publish("s.1", b"", headers={"Nats-Msg-Id": "11.299"})
    assert again.duplicate and again.seq == 3600
    for seq in (1, 1800, 3600):
        assert (await js.get_msg("S", seq)).data == b"x" * 1000
    left = []
    while len(left) < 60:
        batch = await work.fetch(60 - len(left), timeout=10)
        left += [int(m.data) for m in batch]
        for m in batch:
            await m.ack_sync()
    assert sorted(left) == [n * 10 + i for n in range(12) for i in range(10)][60:]
    assert (await state(js, "W")).messages == 0


async def test_what_is_shown_is_within_the_limits(server, js):
    """Whoever publishes as fast as it can and asks at once is never shown more than the stream may hold, nor a first message without its time."""
    await js.add_stream(name="W", subjects=["w"], max_msgs=1000)
    publishes = b"PUB w 1024\r\n" + b"x" * 1024 + b"\r\n"
    shown = []
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as s:
        lines = s.makefile("rb")
        lines.readline()
        s.sendall(b'CONNECT {"verbose":false}\r\nSUB r 1\r\n')
        for _ in range(20):
            s.sendall(publishes * 2000 + b"PUB $JS.API.STREAM.INFO.W r 0\r\n\r\n")
            while not (line := lines.readline()).startswith(b"MSG r "):
                if line == b"PING\r\n":
                    s.sendall(b"PONG\r\n")
            state = json.loads(lines.read(int(line.split()[-1]) + 2))["state"]
            shown.append((state["messages"], state["last_seq"], state["first_ts"][:4] > "2000"))
    assert shown == [(1000, 2000 * n, True) for n in range(1, 21)]


@pytest.mark.thebes  # nats-server 2.9 does not apply max_msgs_per_subject to what is there when it is set
async def test_limits_are_exact_when_the_oldest_are_on_disk(make_server, connect):
    """After a restart the oldest messages must be read before they can go: what a client sees is never over the limit all the same."""
    server = make_server(jetstream=True, config=SMALL_SLOTS if harness.is_thebes() else None)
    js = (await connect(server)).jetstream(timeout=10)
    await js.add_stream(name="D", subjects=["d.*"], max_msgs=3000)
    for _ in range(6):
        await asyncio.gather(*[js.publish(f"d.{i % 7}", b"x" * 1000) for i in range(600)])
    js = (await connect(server.again())).jetstream(timeout=10)
    for i in range(20):
        ack = await js.publish("d.0", b"y")
        now = await state(js, "D")
        assert (now.messages, now.last_seq, now.first_seq) == (3000, ack.seq, ack.seq - 2999)
    await burst(js, [f"d.{i % 7}" for i in range(2000)])
    assert (await state(js, "D")).messages == 3000
    await js.update_stream(name="D", subjects=["d.*"], max_msgs=50)
    assert (await state(js, "D")).messages == 50
    await js.update_stream(name="D", subjects=["d.*"], max_msgs=50, max_msgs_per_subject=3)
    await js.publish("d.1", b"")
    now = await js.stream_info("D", subjects_filter=">")
    assert now.state.subjects == {f"d.{i}": 3 for i in range(7)}


@pytest.mark.thebes  # nats-server 2.9 does not apply max_msgs_per_subject to what is there when it is set
async def test_purge_and_limit_by_subject_of_what_is_on_disk(make_server, connect):
    server = make_server(jetstream=True, config=SMALL_SLOTS if harness.is_thebes() else None)
    js = (await connect(server)).jetstream(timeout=10)
    await js.add_stream(name="C", subjects=["c.*"])
    for n in range(4):
        await asyncio.gather(*[js.publish(f"c.{i % 5}", b"x" * 1000) for i in range(1000)])
    js = (await connect(server.again())).jetstream(timeout=10)
    await js.purge_stream("C", subject="c.0")
    assert (await state(js, "C")).messages == 3200
    await js.purge_stream("C", subject="c.1", keep=10)
    now = await js.stream_info("C", subjects_filter=">")
    assert now.state.subjects == {"c.1": 10, "c.2": 800, "c.3": 800, "c.4": 800}
    await js.update_stream(name="C", subjects=["c.*"], max_msgs_per_subject=4)
    now = await js.stream_info("C", subjects_filter=">")
    assert now.state.subjects == {f"c.{i}": 4 for i in (1, 2, 3, 4)}
    assert now.state.first_seq == 3982


async def test_the_one_that_matches_behind_much_that_does_not(make_server, connect):
    """A block of the index whose matching message is its last: several reads from disk find nothing."""
    server = make_server(jetstream=True, config=SMALL_SLOTS if harness.is_thebes() else None)
    js = (await connect(server)).jetstream(timeout=10)
    await js.add_stream(name="R", subjects=["r.>"])
    for _ in range(10):
        await asyncio.gather(*[js.publish("r.many", b"x" * 4000) for _ in range(102)])
    assert (await js.publish("r.one", b"found")).seq == 1021
    await asyncio.gather(*[js.publish("r.many", b"x" * 4000) for _ in range(300)])
    js = (await connect(server.again())).jetstream(timeout=10)
    sub = await js.pull_subscribe("r.one", "c")
    (msg,) = await sub.fetch(1, timeout=10)
    assert msg.data == b"found" and msg.metadata.num_pending == 0
    assert (await js.get_msg("R", 2, subject="r.one", next=True)).seq == 1021
    await js.delete_msg("R", 1021)
    with pytest.raises(nats.js.errors.NotFoundError):
        await js.get_last_msg("R", "r.one")


def test_who_publishes_too_fast_is_read_slower(make_server):
    """A publisher that never waits for an ack gets all of them, and no 10023, when the disk cannot keep up with it."""
    server = make_server(jetstream=True)
    count, body = 20000, b"x" * 4096
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as k:
        lines = k.makefile("rb")
        create = json.dumps({"name": "F", "subjects": ["f"]}).encode()
        k.sendall(b'CONNECT {"verbose":false}\r\nSUB _I.* 1\r\nPUB $JS.API.STREAM.CREATE.F _I.c %d\r\n%s\r\n' % (len(create), create))
        while not lines.readline().startswith(b"MSG"):
            pass
        assert b'"error"' not in lines.readline()
        chunk = (b"PUB f _I.a %d\r\n%s\r\n" % (len(body), body)) * 100
        sender = threading.Thread(target=lambda: [k.sendall(chunk) for _ in range(count // 100)])
        sender.start()
        for seq in range(1, count + 1):
            line = lines.readline()
            while not line.startswith(b"MSG"):
                if line == b"PING\r\n":
                    k.sendall(b"PONG\r\n")
                line = lines.readline()
            assert json.loads(lines.readline()) == {"stream": "F", "seq": seq}
        sender.join()


@pytest.mark.thebes  # nats-server 2.9 does not apply max_msgs_per_subject to what is there when it is set
async def test_a_limit_for_many_subjects_is_one_pass(make_server, connect):
    server = make_server(jetstream=True, config=SMALL_SLOTS)
    js = (await connect(server)).jetstream(timeout=30)
    await js.add_stream(name="M", subjects=["m.*"])
    for n in range(4):
        await asyncio.gather(*[js.publish(f"m.{i}", b"%d" % n) for i in range(1000)])
    await js.publish("m.7", b"last")
    js = (await connect(server.again())).jetstream(timeout=30)
    await js.delete_msg("M", 3001)
    await js.update_stream(name="M", subjects=["m.*"], max_msgs_per_subject=2)
    now = await state(js, "M")
    assert (now.messages, now.last_seq) == (2000, 4001)
    assert (await js.get_last_msg("M", "m.0")).seq == 2001
    assert [(await js.get_msg("M", seq)).subject for seq in (1001, 2001, 2002, 3008, 4001)] == ["m.0", "m.0", "m.1", "m.7", "m.7"]
    for gone in (1002, 2008, 3001):
        with pytest.raises(nats.js.errors.NotFoundError):
            await js.get_msg("M", gone)
    await js.publish("m.0", b"again")
    assert (await state(js, "M")).messages == 2000
