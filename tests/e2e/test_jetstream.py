# SPDX-License-Identifier: Apache-2.0
"""JetStream through nats-py, as far as release 2.9 goes: streams, publish, pull consumers, every kind of ack."""
import asyncio
import json
import time

import nats.errors
import nats.js.errors
import pytest
from nats.js import api

from harness import eventually

pytestmark = pytest.mark.jetstream


@pytest.fixture
def js(nc):
    return nc.jetstream(timeout=10)


async def fill(js, name, count, subject=None, **config):
    await js.add_stream(name=name, subjects=[f"{name}.>"], **config)
    for i in range(count):
        await js.publish(subject or f"{name}.n", b"%d" % i)


async def refused(awaitable, err_code):
    with pytest.raises(nats.js.errors.APIError) as error:
        await awaitable
    assert error.value.err_code == err_code, error.value


# ---- streams ----


async def test_account_info(js):
    await fill(js, "A", 3)
    info = await js.account_info()
    assert info.streams == 1 and info.consumers == 0 and info.storage > 0


async def test_an_accounts_requests_are_counted_when_they_are_answered(js):
    before = (await js.account_info()).api
    await refused(js.stream_info("NOPE"), 10059)
    now = (await js.account_info()).api
    assert (now.total, now.errors) == (before.total + 2, before.errors + 1)


async def test_create_info_update_delete(js):
    created = await js.add_stream(name="S", subjects=["s.*"], max_msgs=10)
    assert created.config.max_msgs == 10 and created.config.storage == "file" and created.config.num_replicas == 1
    again = await js.add_stream(name="S", subjects=["s.*"], max_msgs=10)
    assert again.config.name == "S"
    await refused(js.add_stream(name="S", subjects=["other"]), 10058)
    await refused(js.add_stream(name="T", subjects=["s.one"]), 10065)
    updated = await js.update_stream(name="S", subjects=["s.*", "t"], max_msgs=20)
    assert updated.config.max_msgs == 20 and updated.config.subjects == ["s.*", "t"]
    await js.publish("t", b"")
    assert (await js.stream_info("S")).state.messages == 1
    assert await js.delete_stream("S")
    await refused(js.stream_info("S"), 10059)
    await refused(js.delete_stream("S"), 10059)


async def test_replicas_need_a_cluster(js):
    await refused(js.add_stream(name="R", subjects=["r"], num_replicas=3), 10074)


async def test_names_and_list(nc, js):
    for name in ("B", "A", "C"):
        await js.add_stream(name=name, subjects=[f"{name}.>"])
    assert sorted(s.config.name for s in await js.streams_info()) == ["A", "B", "C"]
    assert await js.find_stream_name_by_subject("B.x") == "B"
    answer = json.loads((await nc.request("$JS.API.STREAM.NAMES", b"{}", timeout=5)).data)
    assert answer["type"] == "io.nats.jetstream.api.v1.stream_names_response"
    assert sorted(answer["streams"]) == ["A", "B", "C"] and answer["total"] == 3


async def test_publish_to_nobody(js):
    with pytest.raises(nats.js.errors.NoStreamResponseError):
        await js.publish("nobody", b"", timeout=5)


async def test_publish_and_read_back(js):
    await js.add_stream(name="S", subjects=["s.>"])
    for i in range(1, 101):
        ack = await js.publish(f"s.{i % 3}", b"%d" % i, headers={"N": str(i)})
        assert (ack.stream, ack.seq, ack.duplicate) == ("S", i, None)
    state = (await js.stream_info("S")).state
    assert (state.messages, state.first_seq, state.last_seq) == (100, 1, 100)
    for i in (1, 50, 100):
        msg = await js.get_msg("S", i)
        assert (msg.seq, msg.subject, msg.data, msg.headers["N"]) == (i, f"s.{i % 3}", b"%d" % i, str(i))
    assert (await js.get_last_msg("S", "s.2")).seq == 98
    with pytest.raises(nats.js.errors.NotFoundError):
        await js.get_msg("S", 101)


@pytest.mark.parametrize("storage", ["file", "memory"])
async def test_storage(js, storage):
    await fill(js, "S", 10, storage=storage)
    info = await js.stream_info("S")
    assert info.config.storage == storage and info.state.messages == 10


async def test_direct_get(nc, js):
    await js.add_stream(name="S", subjects=["s.>"], allow_direct=True)
    await js.publish("s.a", b"1", headers={"K": "v"})
    await js.publish("s.b", b"2")
    await js.publish("s.a", b"3")
    got = await nc.request("$JS.API.DIRECT.GET.S", b'{"seq":1}', timeout=5)
    assert got.data == b"1" and got.headers["K"] == "v"
    assert [got.headers[key] for key in ("Nats-Stream", "Nats-Subject", "Nats-Sequence")] == ["S", "s.a", "1"]
    assert got.headers["Nats-Time-Stamp"].endswith("Z")
    for request, body, wanted in (("S", b'{"last_by_subj":"s.*"}', b"3"), ("S", b'{"seq":2,"next_by_subj":"s.a"}', b"3"),
                                  ("S.s.b", b"", b"2"), ("S.s.>", b"", b"3")):
        assert (await nc.request(f"$JS.API.DIRECT.GET.{request}", body, timeout=5)).data == wanted, request
    for request, body, status in (("S", b'{"seq":9}', "404"), ("S.s.c", b"", "404"), ("S", b"", "408"), ("S", b"{}", "408"),
                                  ("S", b"{", "408"), ("S", b'{"seq":1,"last_by_subj":"s.a"}', "408")):
        got = await nc.request(f"$JS.API.DIRECT.GET.{request}", body, timeout=5)
        assert (got.data, got.headers["Status"]) == (b"", status), request
    assert (await js.get_msg("S", 2, direct=True)).data == b"2"


async def test_delete_a_message(js):
    await fill(js, "S", 5)
    await js.delete_msg("S", 3)
    state = (await js.stream_info("S")).state
    assert (state.messages, state.first_seq, state.last_seq, state.num_deleted) == (4, 1, 5, 1)
    with pytest.raises(nats.js.errors.NotFoundError):
        await js.get_msg("S", 3)
    with pytest.raises(nats.js.errors.APIError):
        await js.delete_msg("S", 3)


async def test_purge(js):
    await js.add_stream(name="S", subjects=["s.>"])
    for i in range(30):
        await js.publish(f"s.{i % 3}", b"")
    await js.purge_stream("S", keep=15)
    assert (await js.stream_info("S")).state.messages == 15
    await js.purge_stream("S", subject="s.1")
    assert (await js.stream_info("S")).state.messages == 10
    await js.purge_stream("S", seq=30)
    state = (await js.stream_info("S")).state
    assert (state.messages, state.first_seq) == (1, 30)
    await js.purge_stream("S")
    state = (await js.stream_info("S")).state
    assert (state.messages, state.first_seq, state.last_seq) == (0, 31, 30)
    assert (await js.publish("s.x", b"")).seq == 31


# ---- limits and retention ----


async def test_discard_old(js):
    await fill(js, "S", 15, max_msgs=10)
    state = (await js.stream_info("S")).state
    assert (state.messages, state.first_seq, state.last_seq) == (10, 6, 15)


async def test_discard_new(js):
    await fill(js, "S", 10, max_msgs=10, discard="new")
    await refused(js.publish("S.n", b"one too many"), 10077)
    await js.delete_msg("S", 4)
    assert (await js.publish("S.n", b"")).seq == 11


async def test_limit_per_subject(js):
    await js.add_stream(name="S", subjects=["s.>"], max_msgs_per_subject=2)
    for i in range(10):
        await js.publish(f"s.{i % 2}", b"%d" % i)
    assert (await js.stream_info("S")).state.messages == 4
    assert (await js.get_last_msg("S", "s.0")).data == b"8"


async def test_limit_of_bytes_and_of_one_message(js):
    await js.add_stream(name="S", subjects=["s"], max_bytes=10000, max_msg_size=1000)
    for i in range(50):
        await js.publish("s", bytes(900))
    state = (await js.stream_info("S")).state
    assert state.bytes <= 10000 and state.messages >= 9 and state.last_seq == 50
    await refused(js.publish("s", bytes(1001)), 10054)


async def test_limit_of_age(js):
    await js.add_stream(name="S", subjects=["s"], max_age=1)
    await js.publish("s", b"soon gone")
    await eventually(lambda: js.stream_info("S"), lambda i: not i.state.messages, "a message outlived its max_age", seconds=15)
    assert (await js.publish("s", b"")).seq == 2


async def test_work_queue(js):
    await fill(js, "S", 5, retention="workqueue")
    sub = await js.pull_subscribe("S.n", "w")
    for msg in await sub.fetch(5, timeout=5):
        await msg.ack_sync()
    assert (await js.stream_info("S")).state.messages == 0
    await refused(js.add_consumer("S", durable_name="second", ack_policy="explicit"), 10099)


async def test_interest(js):
    await js.add_stream(name="S", subjects=["S.>"], retention="interest")
    await js.publish("S.a", b"nobody cares")
    assert (await js.stream_info("S")).state.messages == 0
    one, two = await js.pull_subscribe("S.a", "one"), await js.pull_subscribe("S.a", "two")
    await js.publish("S.a", b"both care")
    await (await one.fetch(1, timeout=5))[0].ack_sync()
    assert (await js.stream_info("S")).state.messages == 1
    await (await two.fetch(1, timeout=5))[0].ack_sync()
    assert (await js.stream_info("S")).state.messages == 0


# ---- publish: the message's own conditions ----


async def test_duplicates_by_message_id(js):
    await js.add_stream(name="S", subjects=["s"], duplicate_window=60)
    first = await js.publish("s", b"x", headers={"Nats-Msg-Id": "one"})
    second = await js.publish("s", b"x", headers={"Nats-Msg-Id": "one"})
    assert (first.seq, first.duplicate) == (1, None) and (second.seq, second.duplicate) == (1, True)
    assert (await js.publish("s", b"x", headers={"Nats-Msg-Id": "two"})).seq == 2
    assert (await js.stream_info("S")).state.messages == 2


async def test_duplicates_are_forgotten_after_the_window(js):
    await js.add_stream(name="S", subjects=["s"], duplicate_window=0.2)
    await js.publish("s", b"x", headers={"Nats-Msg-Id": "one"})
    await eventually(lambda: js.publish("s", b"x", headers={"Nats-Msg-Id": "one"}), lambda ack: not ack.duplicate,
                     "an id is remembered for longer than its window", seconds=15)
    assert (await js.stream_info("S")).state.messages == 2


@pytest.mark.parametrize("header,good,bad,err_code", [
    ("Nats-Expected-Stream", "S", "T", 10060),
    ("Nats-Expected-Last-Sequence", "3", "2", 10071),
    ("Nats-Expected-Last-Msg-Id", "id2", "id1", 10070),
    ("Nats-Expected-Last-Subject-Sequence", "3", "2", 10071),
])
async def test_expectations(js, header, good, bad, err_code):
    await js.add_stream(name="S", subjects=["s.>"])
    for i in range(3):
        await js.publish("s.a", b"", headers={"Nats-Msg-Id": f"id{i}"})
    await refused(js.publish("s.a", b"", headers={header: bad}), err_code)
    assert (await js.publish("s.a", b"", headers={header: good})).seq == 4


async def test_rollup(js):
    await js.add_stream(name="S", subjects=["s.>"], allow_rollup_hdrs=True)
    for i in range(6):
        await js.publish(f"s.{i % 2}", b"")
    await js.publish("s.0", b"sum", headers={"Nats-Rollup": "sub"})
    assert (await js.stream_info("S")).state.messages == 4
    await js.publish("s.0", b"all", headers={"Nats-Rollup": "all"})
    assert (await js.stream_info("S")).state.messages == 1


async def test_many_publishes_in_flight(js):
    await js.add_stream(name="S", subjects=["s.>"])
    acks = await asyncio.gather(*(js.publish(f"s.{i}", b"%d" % i) for i in range(2000)))
    assert [a.seq for a in acks] == list(range(1, 2001))


# ---- pull consumers ----


async def test_fetch_and_ack(js):
    await fill(js, "S", 25)
    sub = await js.pull_subscribe("S.n", "c")
    got = []
    while len(got) < 25:
        for msg in await sub.fetch(10, timeout=5):
            got.append(int(msg.data))
            meta = msg.metadata
            assert (meta.sequence.stream, meta.sequence.consumer, meta.num_delivered) == (len(got), len(got), 1)
            assert meta.num_pending == 25 - len(got) and (meta.stream, meta.consumer) == ("S", "c")
            await msg.ack_sync()
    assert got == list(range(25))
    info = await js.consumer_info("S", "c")
    assert (info.num_pending, info.num_ack_pending, info.num_redelivered) == (0, 0, 0)
    assert info.ack_floor.stream_seq == 25 and info.delivered.consumer_seq == 25


async def test_nak_brings_it_back_at_once(js):
    await fill(js, "S", 2)
    sub = await js.pull_subscribe("S.n", "c", config=api.ConsumerConfig(ack_wait=60))
    first, second = await sub.fetch(2, timeout=5)
    await second.ack_sync()
    await first.nak()
    (again,) = await sub.fetch(1, timeout=5)
    assert again.data == first.data and again.metadata.num_delivered == 2
    await again.ack_sync()


async def test_nak_with_delay(js):
    await fill(js, "S", 1)
    sub = await js.pull_subscribe("S.n", "c", config=api.ConsumerConfig(ack_wait=60))
    (msg,) = await sub.fetch(1, timeout=5)
    start = time.monotonic()
    await msg.nak(delay=0.5)
    (again,) = await sub.fetch(1, timeout=10)
    assert time.monotonic() - start >= 0.45 and again.metadata.num_delivered == 2


async def test_term_ends_it(js):
    await fill(js, "S", 1)
    sub = await js.pull_subscribe("S.n", "c", config=api.ConsumerConfig(ack_wait=0.3))
    (msg,) = await sub.fetch(1, timeout=5)
    await msg.term()
    with pytest.raises(nats.errors.TimeoutError):
        await sub.fetch(1, timeout=1)
    assert (await js.consumer_info("S", "c")).num_ack_pending == 0


async def test_in_progress_extends_the_time_to_ack(js):
    await fill(js, "S", 1)
    sub = await js.pull_subscribe("S.n", "c", config=api.ConsumerConfig(ack_wait=1))
    (msg,) = await sub.fetch(1, timeout=5)
    waiting = asyncio.ensure_future(sub.fetch(1, timeout=2))
    while not waiting.done():
        await msg.in_progress()
        await asyncio.wait([waiting], timeout=0.2)
    assert isinstance(waiting.exception(), nats.errors.TimeoutError), "it came again although it was in progress"
    await msg.ack_sync()
    assert (await js.consumer_info("S", "c")).num_redelivered == 0


async def test_unacked_messages_come_again(js):
    await fill(js, "S", 3)
    sub = await js.pull_subscribe("S.n", "c", config=api.ConsumerConfig(ack_wait=0.5))
    assert len(await sub.fetch(3, timeout=5)) == 3
    again = []
    while len(again) < 3:
        again += await sub.fetch(3 - len(again), timeout=5)
    assert sorted((int(m.data), m.metadata.num_delivered) for m in again) == [(0, 2), (1, 2), (2, 2)]


async def test_max_deliver(js):
    await fill(js, "S", 1)
    sub = await js.pull_subscribe("S.n", "c", config=api.ConsumerConfig(ack_wait=0.2, max_deliver=3))
    for number in (1, 2, 3):
        (msg,) = await sub.fetch(1, timeout=5)
        assert msg.metadata.num_delivered == number
    with pytest.raises(nats.errors.TimeoutError):
        await sub.fetch(1, timeout=1)


async def test_max_ack_pending(js):
    await fill(js, "S", 10)
    sub = await js.pull_subscribe("S.n", "c", config=api.ConsumerConfig(max_ack_pending=4, ack_wait=60))
    held = await sub.fetch(10, timeout=1)
    assert len(held) == 4
    for msg in held:
        await msg.ack_sync()
    assert len(await sub.fetch(10, timeout=1)) == 4


async def test_acks_let_a_pull_go_on_that_does_not_wait(nc, js):
    await fill(js, "S", 8)
    await js.add_consumer("S", durable_name="c", ack_policy="explicit", max_ack_pending=3, ack_wait=60)
    sub = await nc.subscribe("mine")
    await nc.publish("$JS.API.CONSUMER.MSG.NEXT.S.c", b'{"batch":10,"no_wait":true}', reply="mine")
    for number in range(8):
        msg = await sub.next_msg(timeout=5)
        assert msg.data == b"%d" % number
        if number >= 2:  # the room is used up before the first ack
            for n in range(1, number + 2) if number == 2 else [number + 1]:
                await nc.publish(f"$JS.ACK.S.c.1.{n}.{n}.1.0", b"")


async def test_a_pull_that_does_not_wait_ends_at_its_first_heartbeat(nc, js):
    await fill(js, "S", 8)
    await js.add_consumer("S", durable_name="c", ack_policy="explicit", max_ack_pending=3, ack_wait=60)
    pull = b'{"batch":10,"no_wait":true,"expires":5000000000,"idle_heartbeat":200000000}'
    first, second = await nc.subscribe("first"), await nc.subscribe("second")
    await nc.publish("$JS.API.CONSUMER.MSG.NEXT.S.c", pull, reply="first")
    for number in range(3):
        assert (await first.next_msg(timeout=5)).data == b"%d" % number
    end = await first.next_msg(timeout=5)
    assert (end.headers["Status"], end.headers["Nats-Pending-Messages"]) == ("408", "7")
    await nc.publish("$JS.API.CONSUMER.MSG.NEXT.S.c", pull, reply="second")  # one that got nothing yet goes on
    for _ in range(2):
        assert (await second.next_msg(timeout=5)).headers["Status"] == "100"
    for n in range(1, 4):
        await nc.publish(f"$JS.ACK.S.c.1.{n}.{n}.1.0", b"")
    while (msg := await second.next_msg(timeout=5)).headers:
        assert msg.headers["Status"] == "100"
    assert msg.data == b"3"


async def test_ack_all(js):
    await fill(js, "S", 10)
    sub = await js.pull_subscribe("S.n", "c", config=api.ConsumerConfig(ack_policy=api.AckPolicy.ALL, ack_wait=60))
    messages = await sub.fetch(10, timeout=5)
    await messages[6].ack_sync()
    info = await js.consumer_info("S", "c")
    assert info.ack_floor.stream_seq == 7 and info.num_ack_pending == 3


async def test_filter(js):
    await js.add_stream(name="S", subjects=["s.>"])
    for i in range(20):
        await js.publish(f"s.{i % 4}", b"%d" % i)
    sub = await js.pull_subscribe("s.2", "c")
    assert [int(m.data) for m in await sub.fetch(5, timeout=5)] == [2, 6, 10, 14, 18]


@pytest.mark.parametrize("policy,options,expected", [
    ("all", {}, [0, 1, 2, 3, 4]),
    ("last", {}, [4]),
    ("new", {}, []),
    ("by_start_sequence", {"opt_start_seq": 4}, [3, 4]),
    ("last_per_subject", {}, [3, 4]),
])
async def test_deliver_policies(js, policy, options, expected):
    await js.add_stream(name="S", subjects=["s.>"])
    for i in range(5):
        await js.publish(f"s.{i % 2}", b"%d" % i)
    await js.add_consumer("S", durable_name="c", deliver_policy=policy, ack_policy="explicit", filter_subject="s.*", **options)
    sub = await js.pull_subscribe_bind("c", "S")
    if expected:
        assert [int(m.data) for m in await sub.fetch(len(expected), timeout=5)] == expected
    await js.publish("s.9", b"99")
    assert [int(m.data) for m in await sub.fetch(1, timeout=5)] == [99]


async def pull(nc, request, until_status=True):
    """One raw pull request: (payloads, status of the end)."""
    inbox = nc.new_inbox()
    sub = await nc.subscribe(inbox)
    await nc.publish("$JS.API.CONSUMER.MSG.NEXT.S.c", json.dumps(request).encode(), reply=inbox)
    got = []
    while True:
        msg = await sub.next_msg(timeout=10)
        status = (msg.headers or {}).get("Status")
        if status == "100":
            got.append("heartbeat")
        elif status:
            return got, status
        else:
            got.append(msg.data)


async def test_statuses_of_a_pull(nc, js):
    await fill(js, "S", 3)
    await js.add_consumer("S", durable_name="c", ack_policy="explicit")
    got, status = await pull(nc, {"batch": 5, "no_wait": True})
    assert got == [b"0", b"1", b"2"] and status in ("404", "408")
    assert await pull(nc, {"batch": 5, "no_wait": True}) == ([], "404")
    assert await pull(nc, {"batch": 1, "expires": 300_000_000}) == ([], "408")
    got, status = await pull(nc, {"batch": 1, "expires": 1_000_000_000, "idle_heartbeat": 300_000_000})
    assert status == "408" and got.count("heartbeat") >= 2
    waiting = asyncio.ensure_future(pull(nc, {"batch": 1, "expires": 10_000_000_000}))
    while (await js.consumer_info("S", "c")).num_waiting != 1:
        pass
    await js.delete_consumer("S", "c")
    assert (await waiting)[1] == "409"


async def test_max_bytes_of_a_pull(nc, js):
    await js.add_stream(name="S", subjects=["s"])
    for _ in range(10):
        await js.publish("s", bytes(1000))
    await js.add_consumer("S", durable_name="c", ack_policy="explicit")
    got, status = await pull(nc, {"batch": 10, "max_bytes": 3500, "expires": 500_000_000})
    assert status == "409" and 2 <= len(got) <= 3


async def test_ephemeral_goes_away(js):
    await fill(js, "S", 1)
    info = await js.add_consumer("S", ack_policy="explicit", inactive_threshold=0.5)
    assert info.name and (await js.stream_info("S")).state.consumer_count == 1
    await eventually(lambda: js.stream_info("S"), lambda i: not i.state.consumer_count, "an idle ephemeral consumer stays", seconds=20)


async def test_consumer_names_list_delete(js):
    await fill(js, "S", 1)
    for name in ("x", "y"):
        await js.add_consumer("S", durable_name=name, ack_policy="explicit")
    assert sorted(c.name for c in await js.consumers_info("S")) == ["x", "y"]
    assert await js.delete_consumer("S", "x")
    await refused(js.consumer_info("S", "x"), 10014)


async def test_two_fetchers_share_a_consumer(server, connect, js):
    await fill(js, "S", 200)
    await js.add_consumer("S", durable_name="c", ack_policy="explicit", ack_wait=60)

    async def work():
        other = (await connect(server)).jetstream()
        sub = await other.pull_subscribe_bind("c", "S")
        got = []
        while True:
            try:
                messages = await sub.fetch(10, timeout=1)
            except nats.errors.TimeoutError:
                return got
            for msg in messages:
                await msg.ack_sync()
                got.append(int(msg.data))

    one, two = await asyncio.gather(work(), work())
    assert one and two and sorted(one + two) == list(range(200))


async def test_a_start_beyond_the_end_is_the_end(js):
    await fill(js, "S", 3)
    await js.add_consumer("S", durable_name="c", ack_policy="explicit", deliver_policy="by_start_sequence", opt_start_seq=50)
    await js.publish("S.n", b"next")
    sub = await js.pull_subscribe_bind("c", "S")
    assert [m.data for m in await sub.fetch(1, timeout=5)] == [b"next"]


async def test_the_ack_floor_follows_what_leaves_the_stream(nc, js):
    await fill(js, "S", 5)
    await js.add_consumer("S", durable_name="c", ack_policy="explicit", ack_wait=60)
    sub = await js.pull_subscribe_bind("c", "S")
    await sub.fetch(4, timeout=5)
    await js.delete_msg("S", 1)
    floor = (await js.consumer_info("S", "c")).ack_floor
    assert (floor.consumer_seq, floor.stream_seq) == (1, 1)
    await js.purge_stream("S")
    info = await js.consumer_info("S", "c")
    assert info.num_ack_pending == 0 and info.ack_floor.consumer_seq == info.delivered.consumer_seq == 4


async def test_when_it_was_acked_last(nc, js):
    await fill(js, "S", 1)
    await js.add_consumer("S", durable_name="c", ack_policy="explicit")
    sub = await js.pull_subscribe_bind("c", "S")
    (msg,) = await sub.fetch(1, timeout=5)
    await msg.ack_sync()
    info = json.loads((await nc.request("$JS.API.CONSUMER.INFO.S.c", b"", timeout=5)).data)
    assert info["ack_floor"]["last_active"] >= info["delivered"]["last_active"]


async def test_term_with_ack_all_ends_those_before_it(js):
    await fill(js, "S", 5)
    sub = await js.pull_subscribe("S.n", "c", config=api.ConsumerConfig(ack_policy=api.AckPolicy.ALL, ack_wait=60))
    messages = await sub.fetch(5, timeout=5)
    await messages[3].term()
    await eventually(lambda: js.consumer_info("S", "c"), lambda i: i.num_ack_pending == 1, "those before it ended", seconds=5)


async def test_an_ack_that_says_nothing_known_is_confirmed_and_does_nothing(nc, js):
    await fill(js, "S", 1)
    sub = await js.pull_subscribe("S.n", "c", config=api.ConsumerConfig(ack_wait=60))
    (msg,) = await sub.fetch(1, timeout=5)
    assert (await nc.request(msg.reply, b"+WHAT", timeout=5)).data == b""
    assert (await js.consumer_info("S", "c")).num_ack_pending == 1
    with pytest.raises(nats.errors.NoRespondersError):
        await nc.request("$JS.ACK.S.c.1.1", b"", timeout=5)


async def test_pulls_of_who_went_do_not_wait(server, connect, js):
    await fill(js, "S", 0)
    await js.add_consumer("S", durable_name="c", ack_policy="explicit")
    other = await connect(server)
    await other.subscribe("mine")
    await other.publish("$JS.API.CONSUMER.MSG.NEXT.S.c", b"1", reply="mine")
    await other.flush()
    assert (await js.consumer_info("S", "c")).num_waiting == 1
    await other.close()
    await eventually(lambda: js.consumer_info("S", "c"), lambda i: not i.num_waiting, "the pull is still there", seconds=5)


async def test_an_update_takes_the_limit_of_inactivity_away(js):
    await fill(js, "S", 1)
    await js.add_consumer("S", durable_name="c", ack_policy="explicit", inactive_threshold=1)
    await js.add_consumer("S", durable_name="c", ack_policy="explicit")
    await asyncio.sleep(1.5)  # time itself is tested: nothing happens
    assert (await js.consumer_info("S", "c")).name == "c"


async def test_the_last_message_id_is_the_last_messages(js):
    await js.add_stream(name="S", subjects=["s"])
    await js.publish("s", b"", headers={"Nats-Msg-Id": "a"})
    await js.publish("s", b"")
    await refused(js.publish("s", b"", headers={"Nats-Expected-Last-Msg-Id": "a"}), 10070)


async def test_what_is_told_of_it(nc, js):
    told = []

    async def listen(msg):
        told.append((msg.subject.removeprefix("$JS.EVENT."), json.loads(msg.data)))

    async def tells(where, /, **members):
        deadline = time.monotonic() + 5
        while not any(at == where and members.items() <= said.items() for at, said in told):
            assert time.monotonic() < deadline, (where, members, told)
            await asyncio.sleep(0.01)  # until it has come, not longer

    await nc.subscribe("$JS.EVENT.>", cb=listen)
    await nc.flush()
    await js.add_stream(name="S", subjects=["s"])
    await tells("ADVISORY.STREAM.CREATED.S", type="io.nats.jetstream.advisory.v1.stream_action", stream="S", action="create")
    await js.update_stream(name="S", subjects=["s"], max_msgs=10)
    await tells("ADVISORY.STREAM.UPDATED.S", action="modify")
    await js.add_consumer("S", durable_name="c", ack_policy="explicit", sample_freq="100")
    await tells("ADVISORY.CONSUMER.CREATED.S.c", type="io.nats.jetstream.advisory.v1.consumer_action", stream="S", consumer="c",
                action="create")
    sub = await js.pull_subscribe_bind("c", "S")
    for number in range(2):
        await js.publish("s", b"x")
    (msg,) = await sub.fetch(1, timeout=5)
    await msg.nak()
    await tells("ADVISORY.CONSUMER.MSG_NAKED.S.c", type="io.nats.jetstream.advisory.v1.nak", stream="S", consumer="c", consumer_seq=1,
                stream_seq=1, deliveries=1)
    (msg,) = await sub.fetch(1, timeout=5)
    await msg.term()
    await tells("ADVISORY.CONSUMER.MSG_TERMINATED.S.c", type="io.nats.jetstream.advisory.v1.terminated", consumer_seq=2, stream_seq=1,
                deliveries=2)
    (msg,) = await sub.fetch(1, timeout=5)
    await msg.ack()
    await tells("METRIC.CONSUMER.ACK.S.c", type="io.nats.jetstream.metric.v1.consumer_ack", consumer_seq=3, stream_seq=2, deliveries=1)
    await js.delete_consumer("S", "c")
    await tells("ADVISORY.CONSUMER.DELETED.S.c", action="delete")
    await js.delete_stream("S")
    await tells("ADVISORY.STREAM.DELETED.S", action="delete")
    await tells("ADVISORY.API", type="io.nats.jetstream.advisory.v1.api_audit", subject="$JS.API.CONSUMER.DELETE.S.c")
