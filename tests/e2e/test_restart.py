# SPDX-License-Identifier: Apache-2.0
"""What a client was told survives kill -9: streams, messages, sequences, consumers and their acks, the dedup window."""
import pytest

pytestmark = pytest.mark.jetstream


async def test_everything_survives_kill(make_server, connect):
    server = make_server(jetstream=True)
    js = (await connect(server)).jetstream(timeout=10)
    await js.add_stream(name="S", subjects=["s.>"], duplicate_window=600)
    for i in range(1, 101):
        await js.publish(f"s.{i % 5}", b"%d" % i, headers={"Nats-Msg-Id": str(i)})
    await js.delete_msg("S", 50)
    await js.add_consumer("S", durable_name="c", ack_policy="explicit")
    before = await js.stream_info("S")
    js = (await connect(server.again())).jetstream(timeout=10)
    after = await js.stream_info("S")
    assert after.config == before.config
    assert (after.state.messages, after.state.first_seq, after.state.last_seq, after.state.num_deleted) == (99, 1, 100, 1)
    for i in (1, 49, 51, 100):
        msg = await js.get_msg("S", i)
        assert (msg.subject, msg.data) == (f"s.{i % 5}", b"%d" % i)
    info = await js.consumer_info("S", "c")
    assert (info.ack_floor.stream_seq, info.num_pending) == (0, 99)
    again = await js.publish("s.1", b"100", headers={"Nats-Msg-Id": "100"})
    assert again.duplicate is True and again.seq == 100
    assert (await js.publish("s.1", b"101", headers={"Nats-Msg-Id": "101"})).seq == 101


@pytest.mark.thebes  # nats-server answers a double ack before the consumer's state is stored, and forgets it when it is killed
async def test_answered_acks_survive_kill(make_server, connect):
    server = make_server(jetstream=True)
    js = (await connect(server)).jetstream(timeout=10)
    await js.add_stream(name="S", subjects=["s"])
    for i in range(1, 101):
        await js.publish("s", b"%d" % i)
    sub = await js.pull_subscribe("s", "c")
    for msg in await sub.fetch(30, timeout=5):
        await msg.ack_sync()
    js = (await connect(server.again())).jetstream(timeout=10)
    info = await js.consumer_info("S", "c")
    assert (info.ack_floor.stream_seq, info.num_pending) == (30, 70)
    sub = await js.pull_subscribe_bind("c", "S")
    assert [int(m.data) for m in await sub.fetch(5, timeout=5)] == [31, 32, 33, 34, 35]


async def test_many_restarts(make_server, connect):
    server = make_server(jetstream=True)
    expected = []
    for round in range(6):
        js = (await connect(server)).jetstream(timeout=10)
        if round == 0:
            await js.add_stream(name="S", subjects=["s"])
        for i in range(200):
            ack = await js.publish("s", b"%d.%d" % (round, i))
            expected.append((ack.seq, b"%d.%d" % (round, i)))
        server.kill()
        server.start()
    js = (await connect(server)).jetstream(timeout=10)
    sub = await js.pull_subscribe("s", "c")
    got = []
    while len(got) < len(expected):
        for msg in await sub.fetch(100, timeout=5):
            got.append((msg.metadata.sequence.stream, msg.data))
            await msg.ack()
    assert got == expected


async def test_ordinary_end_keeps_everything(make_server, connect):
    server = make_server(jetstream=True)
    js = (await connect(server)).jetstream(timeout=10)
    await js.add_stream(name="S", subjects=["s"])
    await js.publish("s", b"x")
    server.stop()
    server.start()
    js = (await connect(server)).jetstream(timeout=10)
    assert (await js.get_msg("S", 1)).data == b"x"


async def test_a_deleted_stream_stays_deleted(make_server, connect):
    server = make_server(jetstream=True)
    js = (await connect(server)).jetstream(timeout=10)
    for name in ("KEPT", "GONE"):
        await js.add_stream(name=name, subjects=[name])
        await js.publish(name, b"x")
    await js.delete_stream("GONE")
    js = (await connect(server.again())).jetstream(timeout=10)
    assert [s.config.name for s in await js.streams_info()] == ["KEPT"]


@pytest.mark.thebes  # nats-server forgets the stream itself: docs/decisions/0002-memory-streams.md
@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_stream_in_memory_begins_anew(make_server, connect, how):
    server = make_server(jetstream=True)
    js = (await connect(server)).jetstream(timeout=10)
    await js.add_stream(name="M", subjects=["m"], storage="memory", max_msgs=7)
    await js.add_stream(name="F", subjects=["f"])
    created = None
    for run in range(3):
        for i in range(1, 6):
            assert (await js.publish("m", b"%d" % run, headers={"Nats-Msg-Id": str(i)})).seq == i
            await js.publish("f", b"")
        sub = await js.pull_subscribe("m", "c")
        assert [m.data for m in await sub.fetch(5, timeout=5)] == [b"%d" % run] * 5
        getattr(server, how)()
        server.start()
        nc = await connect(server)
        js = nc.jetstream(timeout=10)
        info = await js.stream_info("M")
        assert info.config.max_msgs == 7 and info.config.subjects == ["m"]
        assert (info.state.messages, info.state.last_seq, info.state.consumer_count) == (0, 0, 0)
        assert (await js.stream_info("F")).state.messages == (run + 1) * 5
        assert info.created != created
        created = info.created
    assert "streams: 2" in server.log_text()
    assert await js.delete_stream("M")
    js = (await connect(server.again())).jetstream(timeout=10)
    assert [s.config.name for s in await js.streams_info()] == ["F"]


@pytest.mark.parametrize("policy", ["none", "all", "explicit"])
async def test_ordinary_end_keeps_deliveries(make_server, connect, policy):
    server = make_server(jetstream=True)
    js = (await connect(server)).jetstream(timeout=10)
    await js.add_stream(name="S", subjects=["s"])
    for i in range(1, 21):
        await js.publish("s", b"%d" % i)
    await js.add_consumer("S", durable_name="c", ack_policy=policy, ack_wait=60)
    sub = await js.pull_subscribe_bind("c", "S")
    assert len(await sub.fetch(10, timeout=5)) == 10
    server.stop()
    server.start()
    js = (await connect(server)).jetstream(timeout=10)
    info = await js.consumer_info("S", "c")
    assert (info.delivered.stream_seq, info.delivered.consumer_seq) == (10, 10)
    assert (info.num_ack_pending, info.num_pending) == (0 if policy == "none" else 10, 10)
    sub = await js.pull_subscribe_bind("c", "S")
    assert [int(m.data) for m in await sub.fetch(5, timeout=5)] == [11, 12, 13, 14, 15]
