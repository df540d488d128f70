# SPDX-License-Identifier: Apache-2.0
"""An entry that ends the process whenever it is applied (rule S11): the second start that dies of it is the last one."""
import os
import signal
import struct
import subprocess

import nats.js.errors
import pytest

pytestmark = [pytest.mark.jetstream, pytest.mark.thebes]


def wait_for_the_end(server):
    code = server.process.wait(timeout=30)
    server.log.close()
    return code


async def publish_the_poison(server, connect):
    nc = await connect(server)
    js = nc.jetstream(timeout=5)
    for name in ("A", "B"):
        await js.add_stream(name=name, subjects=[f"{name}.>"])
        for i in range(1, 11):
            await js.publish(f"{name}.k{i}", b"<%s-%d>" % (name.encode(), i))
    await nc.publish("A.poison", b"x")
    try:
        await nc.flush(timeout=2)
    except Exception:
        pass


def start_and_die(server):
    with pytest.raises(RuntimeError):
        server.start()
    server.log.close()
    return server.process.returncode


async def assert_one_is_stopped(server, connect, reader):
    """The stream with the poison can be read and refuses with a sentence; its neighbour does not notice."""
    js = (await connect(server)).jetstream(timeout=5)
    for name in ("A", "B"):
        assert (await js.stream_info(name)).state.messages >= 10
        assert (await js.get_msg(name, 10)).data == b"<%s-10>" % name.encode()
    await js.publish("B.more", b"more")
    sub = await js.pull_subscribe("B.k1", reader)
    for message in await sub.fetch(1, timeout=5):
        await message.ack_sync(timeout=5)
    await js.add_stream(name=f"NEW-{reader}", subjects=[f"new.{reader}"])
    with pytest.raises(nats.js.errors.APIError) as error:
        await js.publish("A.k1", b"no", timeout=5)
    assert error.value.err_code == 10077
    assert "ended the process before, more than once" in error.value.description and "entry " in error.value.description


DEATHS = [("apply_asserts", signal.SIGABRT), ("apply_traps", signal.SIGILL), ("apply_reads_nowhere", signal.SIGSEGV),
          ("apply_overflows", signal.SIGSEGV)]
# A sanitizer would report what was ordered.
LET_IT_CRASH = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":handle_segv=0"}


@pytest.mark.parametrize("fault, died_of", DEATHS)
async def test_the_second_death_is_the_last(make_server, connect, fault, died_of):
    server = make_server(jetstream=True, config="failpoints: true\n", env={"THEBES_FAILPOINT": fault, **LET_IT_CRASH})
    await publish_the_poison(server, connect)
    assert wait_for_the_end(server) == -died_of
    assert start_and_die(server) == -died_of
    assert "if it does so again, the group stops there" in server.log_text()

    server.start()
    await assert_one_is_stopped(server, connect, "first")
    for words in (["station", "recover", "A"], ["station", "recover", "A", "--accept-loss"]):
        code, out = recover(server, *words)
        assert code == 1 and "nothing of it is lost" in out
    text = server.log_text()
    assert "(A) stopped: group " in text and "(A) is stopped before entry " in text and "ended the process 2 times" in text
    assert server.stop() == 0

    # It is remembered, and the same for whoever is killed meanwhile.
    server.start()
    await assert_one_is_stopped(server, connect, "second")
    server.kill()

    # A binary that can apply it, and an operator who says so.
    server.env = {}
    (server.store / "jetstream" / "poison").unlink()
    server.start()
    js = (await connect(server)).jetstream(timeout=5)
    assert (await js.get_msg("A", 11)).subject == "A.poison"
    assert (await js.publish("A.k1", b"yes")).seq == 12
    assert server.stop() == 0


def crc32c(seed, data):
    crc = ~seed & 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return ~crc & 0xffffffff


def remember_deaths(server, group, indexes):
    """As if the process had ended twice while it applied these entries (docs/STORAGE.md#poison)."""
    store = (server.store / "jetstream" / "identity.0").read_bytes()[56:72]
    rows = b""
    for index in indexes:
        row = struct.pack("<IIQQ", 0x494f5054, 2, group, index)
        rows += row + struct.pack("<II", crc32c(crc32c(0, store), row), 0)
    (server.store / "jetstream" / "poison").write_bytes(rows.ljust(4096, b"\0"))


def recover(server, *words):
    done = subprocess.run([str(server.binary), *words, "-s", server.url()], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


async def test_a_stopped_catalogue_is_not_damaged(make_server, connect):
    """It is told as what it is, and nobody is asked to accept a loss that there is none of."""
    server = make_server(jetstream=True)
    js = (await connect(server)).jetstream(timeout=5)
    await js.add_stream(name="A", subjects=["A.>"])
    await js.add_stream(name="B", subjects=["B.>"])
    await js.publish("B.k", b"b")
    catalogue = 1
    server.kill()
    remember_deaths(server, catalogue, range(3, 40))
    server.start()
    text = server.log_text()
    assert "the catalogue of streams is stopped, none can be made or deleted" in text and "group=1 (catalogue) is stopped before entry 3" in text
    assert "is damaged" not in text
    js = (await connect(server)).jetstream(timeout=5)
    assert (await js.publish("A.k", b"a")).stream == "A"
    with pytest.raises(nats.js.errors.APIError) as error:
        await js.add_stream(name="C", subjects=["C.>"])
    assert error.value.err_code == 10077 and "ended the process before, more than once" in error.value.description
    for words in (["catalogue", "recover"], ["catalogue", "recover", "--accept-loss"]):
        code, out = recover(server, *words)
        assert code == 1 and "nothing of it is lost" in out and "poison" in out
    assert server.stop() == 0
    (server.store / "jetstream" / "poison").unlink()
    server.start()
    js = (await connect(server)).jetstream(timeout=5)
    assert (await js.get_msg("B", 1)).data == b"b"
    await js.add_stream(name="C", subjects=["C.>"])
    assert server.stop() == 0


async def test_one_death_is_forgotten(make_server, connect):
    """What is applied after all, by a start that had more luck, is no poison; nor is what somebody sends to the process."""
    server = make_server(jetstream=True, config="failpoints: true\n", env={"THEBES_FAILPOINT": "apply_asserts"})
    await publish_the_poison(server, connect)
    assert wait_for_the_end(server) == -signal.SIGABRT
    poison = server.store / "jetstream" / "poison"
    assert any(poison.read_bytes())
    server.env = {}
    server.start()
    assert not any(poison.read_bytes())
    js = (await connect(server)).jetstream(timeout=5)
    assert (await js.publish("A.k1", b"yes")).seq == 12
    server.process.send_signal(signal.SIGABRT)
    assert wait_for_the_end(server) == -signal.SIGABRT
    assert not any(poison.read_bytes())


async def test_a_damaged_file_is_ignored(make_server, connect):
    server = make_server(jetstream=True)
    js = (await connect(server)).jetstream(timeout=5)
    await js.add_stream(name="A", subjects=["A.>"])
    await js.publish("A.k", b"x")
    server.kill()
    poison = server.store / "jetstream" / "poison"
    for garbage in (b"\xa5" * 4096, b"\xa5" * 33, b""):
        poison.write_bytes(garbage)
        before = server.log_text().count("poison is damaged in")
        server.start()
        assert server.log_text().count("poison is damaged in") == before + bool(garbage)
        assert (await (await connect(server)).jetstream(timeout=5).get_msg("A", 1)).data == b"x"
        server.kill()
        assert poison.read_bytes() == bytes(4096)
