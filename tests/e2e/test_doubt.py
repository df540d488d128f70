# SPDX-License-Identifier: Apache-2.0
"""One flipped bit on a node that has no peers (rule S7): the stream that it touches is shown, read as far as it is intact, refuses what it
can not keep with a sentence that names group and range, and can be given up or taken back; the others do not notice."""
import asyncio
import json
import subprocess

import harness
import nats.errors
import nats.js.errors
import pytest

pytestmark = [pytest.mark.jetstream, pytest.mark.thebes]

SMALL_SLOTS = "journal { slot_size: 1MB, slot_count: 4 }\n"


def files_of(server, what):
    return sorted((server.store / "jetstream").glob(what))


def flip(server, what, text, at=0):
    """Flips one bit of every copy of the text in the store's files; how many there were."""
    count = 0
    for path in files_of(server, what):
        data = bytearray(path.read_bytes())
        place = data.find(text)
        while place >= 0:
            data[place + at] ^= 0x10
            count += 1
            place = data.find(text, place + 1)
        if count:
            path.write_bytes(data)
    return count


def use_of(slot):
    """How many slots of the journal were begun before this use of its file, and it."""
    with open(slot, "rb") as file:
        return int.from_bytes(file.read(16)[8:], "little")


def run(server, *words, code=0):
    done = subprocess.run([str(server.binary), *words, "-s", server.url()], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done
    return done.stdout + done.stderr


async def session(server, connect):
    nc = await connect(server)
    return nc, nc.jetstream(timeout=5)


async def ask(nc, subject, body=None):
    return json.loads((await nc.request("$JS.API." + subject, json.dumps(body).encode() if body is not None else b"", timeout=5)).data)


async def fill(js, names, count, size=0):
    for name in names:
        await js.add_stream(name=name, subjects=[f"{name}.>"])
        for i in range(1, count + 1):
            if i == 11:
                await consume(js, name, 3)
            await js.publish(f"{name}.k{i % 5}", b"<%s-%d>" % (name.encode(), i) + b"." * size)


async def filled(make_server, connect, names, count, size=0):
    """A server with these streams, killed. Large messages lie in small slots, so that most have settled into segments."""
    server = make_server(jetstream=True, config=SMALL_SLOTS if size else None)
    await fill((await connect(server)).jetstream(timeout=10), names, count, size)
    server.kill()
    return server


def assert_refused(answer, group, *words):
    error = answer["error"]
    assert error["err_code"] == 10077 and error["code"] == 503, answer
    assert f"group {group} is in doubt" in error["description"], answer
    for word in words:
        assert word in error["description"], answer


async def assert_whole(js, name, count):
    """The neighbour: read, published to, consumed."""
    assert (await js.stream_info(name)).state.messages >= count
    assert (await js.get_msg(name, 1)).data.startswith(b"<%s-1>" % name.encode())
    await js.publish(f"{name}.more", b"more")
    sub = await js.pull_subscribe(f"{name}.k1", "reader")
    for message in await sub.fetch(3, timeout=5):
        await message.ack_sync(timeout=5)
    await sub.unsubscribe()


async def assert_read_only(nc, js, server, name, group, last):
    """What can not be kept is refused at once, by name; what does not change anything works."""
    info = await ask(nc, f"STREAM.INFO.{name}")
    assert info["doubt"]["group"] == group and info["doubt"]["from"] > 0 and f"group {group}" in info["doubt"]["reason"]
    assert info["state"]["last_seq"] == last
    assert (await js.stream_info(name)).state.last_seq == last
    assert name in (await ask(nc, "STREAM.NAMES"))["streams"]
    listed = {s["config"]["name"]: s for s in (await ask(nc, "STREAM.LIST"))["streams"]}
    assert "doubt" in listed[name] and [n for n, s in listed.items() if "doubt" in s] == [name]
    assert "in doubt" in run(server, "station", "ls") and f"group {group} is in doubt" in run(server, "station", "info", name)

    with pytest.raises(nats.js.errors.APIError) as error:
        await js.publish(f"{name}.k1", b"no", timeout=5)
    assert error.value.err_code == 10077 and f"group {group} is in doubt" in error.value.description
    assert_refused(await ask(nc, f"STREAM.PURGE.{name}"), group)
    assert_refused(await ask(nc, f"STREAM.MSG.DELETE.{name}", {"seq": 1}), group)
    assert_refused(await ask(nc, f"STREAM.UPDATE.{name}", {"name": name, "subjects": [f"{name}.>"], "max_msgs": 7}), group)
    assert_refused(await ask(nc, f"CONSUMER.DURABLE.CREATE.{name}.new", {"stream_name": name, "config": {"durable_name": "new", "ack_policy": "explicit"}}), group)
    assert_refused(await ask(nc, f"CONSUMER.DELETE.{name}.old"), group)
    # who makes it again as it is finds it there
    assert "error" not in await ask(nc, f"STREAM.CREATE.{name}", {k: v for k, v in info["config"].items() if k != "created"})


async def assert_consumer_rests(nc, name, group, acked):
    info = await ask(nc, f"CONSUMER.INFO.{name}.old")
    assert info["ack_floor"]["stream_seq"] == acked
    assert (await ask(nc, f"CONSUMER.NAMES.{name}"))["consumers"] == ["old"]
    status = await nc.request(f"$JS.API.CONSUMER.MSG.NEXT.{name}.old", b'{"batch":1,"expires":2000000000}', timeout=5)
    assert status.headers["Status"] == "409" and f"group {group} is in doubt" in status.headers["Description"]
    with pytest.raises(nats.errors.NoRespondersError):
        await nc.request(f"$JS.ACK.{name}.old.1.1.1.1.1", b"", timeout=5)


async def consume(js, name, count):
    sub = await js.pull_subscribe("", "old", stream=name)
    for message in await sub.fetch(count, timeout=5):
        await message.ack_sync(timeout=5)
    await sub.unsubscribe()


async def assert_recovered(server, connect, name, lost, last, next_seq):
    """Taken back: what is intact is there and consumed, what is lost is absent, sequences go on above all that may have been given out; also
    after another start."""
    out = run(server, "station", "recover", name, code=1)
    assert "is in doubt" in out and "--accept-loss" in out
    assert f"next sequence is {next_seq}" in run(server, "station", "recover", name, "--accept-loss")
    assert "not in doubt" in run(server, "station", "recover", name, code=1)
    for again in range(2):
        nc, js = await session(server, connect)
        info = await ask(nc, f"STREAM.INFO.{name}")
        assert "doubt" not in info and info["state"]["messages"] == last - len(lost) + again
        for i in range(1, last + 1):
            if i in lost:
                assert (await ask(nc, f"STREAM.MSG.GET.{name}", {"seq": i}))["error"]["err_code"] == 10037
            else:
                assert (await js.get_msg(name, i)).data.startswith(b"<%s-%d>" % (name.encode(), i))
        assert (await js.publish(f"{name}.k1", b"<after>")).seq == next_seq + again
        assert (await js.get_last_msg(name, f"{name}.k1")).seq == next_seq + again
        sub = await js.pull_subscribe("", f"all{again}", stream=name)
        seen = []
        while len(seen) < last - len(lost) + 1 + again:
            for message in await sub.fetch(100, timeout=5):
                seen.append(message.metadata.sequence.stream)
                await message.ack_sync(timeout=5)
        assert seen == [i for i in range(1, last + 1) if i not in lost] + [next_seq + n for n in range(again + 1)]
        server.again()
    server.stop()
    server.start()


async def test_a_bit_in_the_journal(make_server, connect):
    server = await filled(make_server, connect, ["A", "B"], 40)
    assert flip(server, "journal/*", b"<A-17>") == 1

    nc, js = await session(server.start(), connect)
    await assert_whole(js, "B", 40)
    await assert_read_only(nc, js, server, "A", 2, 16)
    await assert_consumer_rests(nc, "A", 2, 3)
    for i in range(1, 17):
        assert (await js.get_msg("A", i)).data == b"<A-%d>" % i
    assert_refused(await ask(nc, "STREAM.MSG.GET.A", {"seq": 17}), 2)
    assert_refused(await ask(nc, "STREAM.MSG.GET.A", {"seq": 30}), 2)
    assert_refused(await ask(nc, "STREAM.MSG.GET.A", {"last_by_subj": "A.k1"}), 2)
    assert (await ask(nc, "STREAM.MSG.GET.A", {"seq": 2, "next_by_subj": "A.k3"}))["message"]["seq"] == 3
    assert server.log_text().count("group=2 (A)") >= 1
    # it stays so over starts, and the operator may give it up
    nc, js = await session(server.again(), connect)
    assert "doubt" in await ask(nc, "STREAM.INFO.A")
    await assert_recovered(server, connect, "A", {17}, 40, 41)
    assert "doubt" not in (await ask(await connect(server), "STREAM.INFO.A"))


async def test_a_station_in_doubt_is_given_up(make_server, connect):
    server = await filled(make_server, connect, ["A", "B"], 20)
    assert flip(server, "journal/*", b"<A-7>") == 1
    nc, js = await session(server.start(), connect)
    run(server, "station", "rm", "-y", "A")
    with pytest.raises(nats.js.errors.NotFoundError):
        await js.stream_info("A")
    await js.add_stream(name="A", subjects=["A.>"])
    assert (await js.publish("A.k1", b"new")).seq == 1
    await assert_whole(js, "B", 20)


async def test_a_bit_in_a_segment(make_server, connect):
    server = await filled(make_server, connect, ["A", "B"], 600, size=4000)
    assert flip(server, "groups/*2/*/*.seg", b"<A-100>") == 1

    nc, js = await session(server.start(), connect)
    await js.publish("A.k1", b"<A-601>")  # nobody has looked there yet
    assert (await js.get_msg("A", 99)).data.startswith(b"<A-99>")
    assert_refused(await ask(nc, "STREAM.MSG.GET.A", {"seq": 100}), 2)
    for _ in range(2):
        await assert_whole(js, "B", 600)
        await assert_read_only(nc, js, server, "A", 2, 601)
        await assert_consumer_rests(nc, "A", 2, 3)
        for i in [*range(1, 100), *range(101, 601)]:
            assert (await js.get_msg("A", i)).data.startswith(b"<A-%d>" % i)
        assert_refused(await ask(nc, "STREAM.MSG.GET.A", {"seq": 100}), 2)
        assert (await js.get_last_msg("A", "A.k1")).data == b"<A-601>"
        nc, js = await session(server.again(), connect)
    assert "doubt" in await ask(nc, "STREAM.INFO.A")
    await assert_recovered(server, connect, "A", {100}, 601, 602)


async def test_a_slot_that_is_gone(make_server, connect):
    """Nobody knows what the newest slot held: every group is in doubt, sequences jump over all that it may have given out."""
    server = await filled(make_server, connect, ["A", "B"], 600, size=4000)
    max(files_of(server, "journal/*"), key=use_of).unlink()
    nc = await connect(server.start())
    for name, group in (("A", 2), ("B", 3)):
        info = await ask(nc, f"STREAM.INFO.{name}")
        assert info["doubt"]["group"] == group and "to" not in info["doubt"]
        last = info["state"]["last_seq"]
        assert 300 < last <= 600
        assert_refused(await ask(nc, f"STREAM.MSG.GET.{name}", {"seq": last + 1}), group)
        out = run(server, "station", "recover", name, "--accept-loss")
        assert int(out.split()[-1]) > last + 4 * (1 << 20) // 48
    assert_refused(await ask(nc, "STREAM.CREATE.N", {"name": "N", "subjects": ["N.>"]}), 1)
    assert_refused(await ask(nc, "STREAM.DELETE.A"), 1)
    assert "group 1 is in doubt" in run(server, "catalogue", "recover", code=1)
    run(server, "catalogue", "recover", "--accept-loss")
    nc, js = await session(server.again(), connect)
    for name in ("A", "B"):
        assert (await js.get_msg(name, 300)).data.startswith(b"<%s-300>" % name.encode())
        assert (await js.publish(f"{name}.k1", b"on")).seq > 4 * (1 << 20) // 48
    await js.add_stream(name="N", subjects=["N.>"])
    assert (await js.publish("N.k", b"")).seq == 1
    await js.delete_stream("A")


async def test_a_bit_in_the_catalogue(make_server, connect):
    """Streams that the catalogue still knows are served; the others are there again when the loss was accepted."""
    server = await filled(make_server, connect, ["A", "B", "C"], 20)
    assert flip(server, "journal/*", b'"name":"B"') >= 1
    nc, js = await session(server.start(), connect)
    assert (await ask(nc, "STREAM.NAMES"))["streams"] == ["A"]
    await assert_whole(js, "A", 20)
    assert_refused(await ask(nc, "STREAM.CREATE.N", {"name": "N", "subjects": ["N.>"]}), 1)
    run(server, "catalogue", "recover", "--accept-loss")
    assert "not in doubt" in run(server, "catalogue", "recover", code=1)
    await js.add_stream(name="N", subjects=["N.>"])
    for _ in range(2):
        nc, js = await session(server.again(), connect)
        # what B was nobody knows any more, but nothing of it is deleted
        assert (await ask(nc, "STREAM.NAMES"))["streams"] == ["A", "C", "N"]
        assert "group 3 is in no row of the catalogue" in server.log_text()
        assert (await js.get_msg("C", 20)).data == b"<C-20>"
    await assert_whole(js, "C", 20)
    assert (await js.publish("N.k", b"")).seq == 1


async def test_a_crash_while_it_is_taken_back(make_server, connect):
    """Killed at any moment it is in doubt as it was, or in service without what is lost; never anything else."""
    server = await filled(make_server, connect, ["A", "B"], 600, size=4000)
    assert flip(server, "groups/*2/*/*.seg", b"<A-100>") == 1
    nc = await connect(server.start())
    assert_refused(await ask(nc, "STREAM.MSG.GET.A", {"seq": 100}), 2)
    tries = 0
    while "doubt" in (info := await ask(nc, "STREAM.INFO.A")):
        assert info["state"]["messages"] == 600
        assert (await nc.jetstream(timeout=5).get_msg("A", 400)).data.startswith(b"<A-400>")
        asked = asyncio.ensure_future(nc.request("$JS.API.THEBES.STREAM.RECOVER.A", b'{"accept_loss":true}', timeout=60))
        await nc.flush()
        if tries < 12:
            await asyncio.sleep(0.004 * tries * tries)
        else:  # a slow machine
            await asked
        # the others go on, and it can be read meanwhile
        await nc.jetstream(timeout=5).publish("B.k1", b"on")
        server.kill()
        asked.cancel()
        nc = await connect(server.start())
        tries += 1
        assert tries <= 13, "taken back, and in doubt again"
    assert tries > 0
    js = nc.jetstream(timeout=5)
    assert (await js.stream_info("A")).state.messages == 599
    for i in [*range(1, 100), *range(101, 601)]:
        assert (await js.get_msg("A", i)).data.startswith(b"<A-%d>" % i)
    assert (await js.publish("A.k1", b"")).seq == 601
    assert (await js.stream_info("B")).state.messages >= 600 + tries


async def test_a_work_queue_is_taken_back(make_server, connect):
    """What was acknowledged before the damage stays gone; what is there comes once, in order; what is lost does not hold anybody up."""
    server = make_server(jetstream=True, config=SMALL_SLOTS)
    js = (await connect(server)).jetstream(timeout=10)
    await js.add_stream(name="Q", subjects=["Q"], retention="workqueue")
    await js.add_stream(name="B", subjects=["B"])
    for i in range(1, 601):
        await js.publish("Q", b"<Q-%d>" % i + b"." * 4000)
    sub = await js.pull_subscribe("Q", "workers")
    for message in await sub.fetch(150, timeout=5):
        await message.ack_sync(timeout=5)
    pending = await sub.fetch(20, timeout=5)  # 151 to 170: delivered, not acknowledged
    assert pending[0].data.startswith(b"<Q-151>")
    held = max(use_of(path) for path in files_of(server, "journal/*") if b"<Q-300>" in path.read_bytes())
    while held in map(use_of, files_of(server, "journal/*")):  # what it held has settled when it is written over
        await js.publish("B", b"x" * 100000)
    server.kill()
    assert flip(server, "groups/*2/*/*.seg", b"<Q-160>") + flip(server, "groups/*2/*/*.seg", b"<Q-300>") == 2
    nc = await connect(server.start())
    assert_refused(await ask(nc, "STREAM.MSG.GET.Q", {"seq": 300}), 2)
    assert "2 messages that were known are lost" in run(server, "station", "recover", "Q", "--accept-loss")
    js = nc.jetstream(timeout=5)
    assert (await js.stream_info("Q")).state.messages == 448
    sub = await js.pull_subscribe("Q", "workers")
    seen = []
    while len(seen) < 448:
        for message in await sub.fetch(100, timeout=35):
            seen.append(message.metadata.sequence.stream)
            await message.ack_sync(timeout=5)
    assert sorted(seen) == [i for i in range(151, 601) if i not in (160, 300)]
    assert (await js.stream_info("Q")).state.messages == 0
    assert (await js.publish("Q", b"")).seq == 601


async def test_a_bit_in_the_state_of_a_stream(make_server, connect):
    """The station whose state it is comes back with its messages and without its consumers; the others do not notice."""
    server = await filled(make_server, connect, ["A", "B"], 600, size=4000)
    assert flip(server, "state.lmdb", b"A.k3") >= 1
    for i in range(2):
        nc, js = await session(server.start(), connect)
        info = await ask(nc, "STREAM.INFO.A")
        assert "its state is lost" in info["doubt"]["reason"] and info["doubt"]["group"] == 2
        assert_refused(await ask(nc, "STREAM.MSG.GET.A", {"seq": 3}), 2)
        await assert_whole(js, "B", 600)
        await js.add_stream(name=f"N{i}", subjects=[f"N{i}"])
        server.kill()
    server.start()
    await assert_recovered(server, connect, "A", set(), 600, 601)
    js = (await connect(server)).jetstream(timeout=5)
    assert [c.name for c in await js.consumers_info("A")] == ["all0", "all1"]
    await assert_whole(js, "B", 600)


async def test_a_bit_in_a_row_of_the_catalogue(make_server, connect):
    """The other rows are still true."""
    server = await filled(make_server, connect, ["B", "A"], 600, size=4000)
    assert flip(server, "state.lmdb", b'"name":"A"') >= 1
    nc, js = await session(server.start(), connect)
    assert (await ask(nc, "STREAM.NAMES"))["streams"] == ["B"]
    await assert_whole(js, "B", 600)
    run(server, "catalogue", "recover", "--accept-loss")
    nc, js = await session(server.again(), connect)
    assert (await ask(nc, "STREAM.NAMES"))["streams"] == ["B"]
    await assert_whole(js, "B", 600)
    await js.add_stream(name="N", subjects=["N"])
    assert "group 3 is in no row of the catalogue" in server.log_text()
