# SPDX-License-Identifier: Apache-2.0
"""Core NATS through nats-py: publish, subscribe, request, queue groups, wildcards, headers, drain."""
import asyncio

import nats.errors
import pytest


async def collect(sub, count, timeout=5):
    return [await sub.next_msg(timeout=timeout) for _ in range(count)]


async def test_publish_and_subscribe(nc):
    sub = await nc.subscribe("orders.new")
    await nc.publish("orders.new", b"one")
    await nc.publish("orders.old", b"not for us")
    await nc.publish("orders.new", b"two")
    assert [m.data for m in await collect(sub, 2)] == [b"one", b"two"]
    await nc.flush()
    assert sub.pending_msgs == 0


async def test_order_between_two_connections(server, connect):
    sender, receiver = await connect(server), await connect(server)
    sub = await receiver.subscribe("n", pending_msgs_limit=-1, pending_bytes_limit=-1)
    await receiver.flush()
    for i in range(20000):
        await sender.publish("n", b"%d" % i)
    await sender.flush()
    assert [int(m.data) for m in await collect(sub, 20000)] == list(range(20000))


@pytest.mark.parametrize("pattern,matching,other", [
    ("a.*", ["a.b", "a.c"], ["a", "a.b.c", "b.a"]),
    ("a.>", ["a.b", "a.b.c"], ["a", "b.a"]),
    (">", ["a", "a.b.c"], []),
    ("*.b.*", ["x.b.y"], ["x.c.y", "x.b", "x.b.y.z"]),
])
async def test_wildcards(nc, pattern, matching, other):
    sub = await nc.subscribe(pattern)
    for subject in other + matching:
        await nc.publish(subject, subject.encode())
    await nc.flush()
    assert [m.subject for m in await collect(sub, len(matching))] == matching
    assert sub.pending_msgs == 0


async def test_every_subscriber_gets_a_copy(server, connect):
    receivers = [await connect(server) for _ in range(5)]
    subs = [await r.subscribe("news") for r in receivers]
    for r in receivers:
        await r.flush()
    await receivers[0].publish("news", b"x")
    for sub in subs:
        assert (await sub.next_msg(timeout=5)).data == b"x"


async def test_queue_group_shares_the_work(server, connect):
    sender = await connect(server)
    members = [await connect(server) for _ in range(3)]
    subs = [await m.subscribe("jobs", queue="workers") for m in members]
    watcher = await sender.subscribe("jobs")
    for m in members:
        await m.flush()
    for i in range(300):
        await sender.publish("jobs", b"%d" % i)
    await sender.flush()
    for m in members:
        await m.flush()
    got = []
    for sub in subs:
        assert sub.pending_msgs > 30, "a member of the group is left out"
        got += [int(m.data) for m in await collect(sub, sub.pending_msgs)]
    assert sorted(got) == list(range(300))
    assert len(await collect(watcher, 300)) == 300


async def test_unsubscribe_after_a_number_of_messages(nc):
    sub = await nc.subscribe("few")
    await sub.unsubscribe(limit=3)
    for i in range(10):
        await nc.publish("few", b"%d" % i)
    await nc.flush()
    assert [m.data for m in await collect(sub, 3)] == [b"0", b"1", b"2"]
    with pytest.raises((nats.errors.Error, asyncio.TimeoutError)):
        await sub.next_msg(timeout=0.2)


async def test_request_and_reply(server, connect):
    service, client = await connect(server), await connect(server)

    async def double(msg):
        await msg.respond(b"%d" % (2 * int(msg.data)))

    await service.subscribe("double", cb=double)
    await service.flush()
    answers = await asyncio.gather(*(client.request("double", b"%d" % i, timeout=5) for i in range(200)))
    assert [int(a.data) for a in answers] == [2 * i for i in range(200)]


async def test_request_without_a_responder_fails_at_once(nc):
    with pytest.raises(nats.errors.NoRespondersError):
        await nc.request("nobody.listens", b"", timeout=5)


async def test_headers(server, connect):
    sender, receiver = await connect(server), await connect(server)
    sub = await receiver.subscribe("h")
    await receiver.flush()
    await sender.publish("h", b"body", headers={"Trace-Id": "abc: def", "Empty": ""})
    await sender.publish("h", b"", headers={"Only": "headers"})
    await sender.publish("h", b"plain")
    first, second, third = await collect(sub, 3)
    assert first.headers == {"Trace-Id": "abc: def", "Empty": ""} and first.data == b"body"
    assert second.headers == {"Only": "headers"} and second.data == b""
    assert not third.headers and third.data == b"plain"


async def test_no_echo(server, connect):
    quiet, other = await connect(server, no_echo=True), await connect(server)
    own, others = await quiet.subscribe("e"), await other.subscribe("e")
    await quiet.flush()
    await other.flush()
    await quiet.publish("e", b"x")
    assert (await others.next_msg(timeout=5)).data == b"x"
    await quiet.flush()
    assert own.pending_msgs == 0


@pytest.mark.parametrize("size", [0, 1, 4095, 65536, 1024 * 1024])
async def test_payload_sizes(nc, size):
    sub = await nc.subscribe("big")
    body = bytes(i * 7 % 256 for i in range(size % 9973)) * (size // 9973 + 1) if size else b""
    body = body[:size]
    await nc.publish("big", body)
    assert (await sub.next_msg(timeout=10)).data == body


async def test_payload_over_the_limit_is_refused(server, connect):
    nc = await connect(server)
    assert nc.max_payload == 1024 * 1024
    with pytest.raises(nats.errors.MaxPayloadError):
        await nc.publish("big", bytes(nc.max_payload + 1))
    # Past the client's own check the server answers and closes.
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await reader.readline()
    writer.write(b"CONNECT {\"verbose\":false}\r\nPUB big 1048577\r\n")
    assert await reader.readline() == b"-ERR 'Maximum Payload Violation'\r\n"
    assert await reader.read() == b""
    writer.close()


async def test_drain_delivers_what_is_on_its_way(server, connect):
    sender, receiver = await connect(server), await connect(server)
    got = []

    async def slowly(msg):
        await asyncio.sleep(0)
        got.append(int(msg.data))

    await receiver.subscribe("d", cb=slowly)
    await receiver.flush()
    for i in range(500):
        await sender.publish("d", b"%d" % i)
    await sender.flush()
    await receiver.drain()
    assert got == list(range(500))
    assert receiver.is_closed


async def test_connection_that_says_nothing_sensible_is_closed(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    assert (await reader.readline()).startswith(b"INFO {")
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert (await reader.readline()).startswith(b"-ERR 'Unknown Protocol Operation'")
    assert await reader.read() == b""
    writer.close()


async def test_many_connections(server, connect):
    receivers = [await connect(server) for _ in range(200)]
    subs = [await r.subscribe(f"to.{i}") for i, r in enumerate(receivers)]
    for r in receivers:
        await r.flush()
    for i in range(200):
        await receivers[0].publish(f"to.{i}", b"%d" % i)
    for i, sub in enumerate(subs):
        assert (await sub.next_msg(timeout=5)).data == b"%d" % i


async def test_clients_reconnect_after_a_restart(make_server, connect):
    server = make_server()
    back = asyncio.Event()

    async def on_reconnect():
        back.set()

    nc = await connect(server, allow_reconnect=True, reconnect_time_wait=0.05, max_reconnect_attempts=200, reconnected_cb=on_reconnect)
    sub = await nc.subscribe("still.there")
    await nc.flush()
    server.kill()
    server.start()
    await asyncio.wait_for(back.wait(), 15)
    await nc.publish("still.there", b"x")
    assert (await sub.next_msg(timeout=5)).data == b"x"


async def test_slow_consumer_is_closed_and_the_others_are_not(make_server, connect):
    server = make_server(config="max_pending: 1MB\nwrite_deadline: 1s\n")
    nc = await connect(server)
    sub = await nc.subscribe("flood", pending_msgs_limit=-1, pending_bytes_limit=-1)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(b"CONNECT {\"verbose\":false}\r\nSUB flood 1\r\nPING\r\n")
    while await reader.readline() != b"PONG\r\n":
        pass
    reader._transport.pause_reading()
    body = bytes(65536)
    for _ in range(400):
        await nc.publish("flood", body)
        await nc.flush(timeout=20)
    assert len(await collect(sub, 400)) == 400
    reader._transport.resume_reading()
    got = 0
    try:
        while True:
            piece = await asyncio.wait_for(reader.read(1 << 20), 10)
            if not piece:
                break
            got += len(piece)
    except ConnectionResetError:
        pass
    assert got < 400 * len(body), "the connection that did not read got everything"
    writer.close()


async def test_ordinary_end(make_server):
    server = make_server()
    code = server.stop()
    # nats-server 2.9 ends with 1 after SIGTERM, later releases with 0.
    assert code in (0, 1)
    assert "Server Exiting" in server.log_text()
