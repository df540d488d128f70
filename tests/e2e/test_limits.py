# SPDX-License-Identifier: Apache-2.0
"""What accounts and the server may store: max_memory_store, max_file_store, and the limits of an account's jetstream block."""
import asyncio
import json

import nats.errors
import nats.js.errors
import pytest

pytestmark = pytest.mark.jetstream

SERVER = 'jetstream {{ max_memory_store: 4096, max_file_store: 10000, store_dir: "{dir}" }}\n'
ACCOUNTS = """
jetstream {{ store_dir: "{dir}" }}
accounts {{
  A {{ users [{{user: a, password: a}}]
       jetstream {{ max_mem: 4096, max_store: {store}, max_streams: 2, max_consumers: 1, max_ack_pending: 50, {more} }} }}
  B {{ users [{{user: b, password: b}}], jetstream: enabled }}
}}
"""


async def refused(awaitable, err_code):
    with pytest.raises(nats.js.errors.APIError) as error:
        await awaitable
    assert error.value.err_code == err_code, error.value


async def fill(js, subject, size, err_code):
    """Publishes until it is refused; how many were stored."""
    count = 0
    while count < 100:
        try:
            await js.publish(subject, bytes(size))
        except nats.js.errors.APIError as e:
            assert e.err_code == err_code
            return count
        count += 1
    raise AssertionError("nothing was refused")


async def test_the_servers_limits(make_server, connect, tmp_path):
    server = make_server(config=SERVER.format(dir=tmp_path))
    nc = await connect(server)
    js = nc.jetstream(timeout=10)
    await refused(js.add_stream(name="M", storage="memory", max_bytes=5000), 10028)
    await refused(js.add_stream(name="F", max_bytes=11000), 10047)
    await js.add_stream(name="F", max_bytes=6000)
    await refused(js.add_stream(name="G", max_bytes=6000), 10047)
    await refused(js.update_stream(name="F", subjects=["F"], max_bytes=20000), 10047)
    await js.update_stream(name="F", subjects=["F"], max_bytes=7000)
    await js.add_stream(name="G")
    assert 6 <= await fill(js, "G", 1500, 10023) <= 7
    await refused(js.publish("F", bytes(1500)), 10023)
    await js.purge_stream("G")
    await js.publish("F", b"x")
    limits = json.loads((await nc.request("$JS.API.INFO", b"", timeout=5)).data)["limits"]
    assert limits["max_storage"] == limits["max_memory"] == -1


async def test_an_accounts_limits(make_server, connect, tmp_path):
    server = make_server(config=ACCOUNTS.format(dir=tmp_path, store=10000, more=""))
    nc = await connect(server, user="a", password="a")
    js = nc.jetstream(timeout=10)
    limits = json.loads((await nc.request("$JS.API.INFO", b"", timeout=5)).data)["limits"]
    assert limits == {"max_memory": 4096, "max_storage": 10000, "max_streams": 2, "max_consumers": 1, "max_ack_pending": 50,
                      "memory_max_stream_bytes": -1, "storage_max_stream_bytes": -1, "max_bytes_required": False}
    await refused(js.add_stream(name="M", storage="memory", max_bytes=5000), 10028)
    await refused(js.add_stream(name="F", max_bytes=11000), 10047)
    await js.add_stream(name="F", max_bytes=6000)
    await refused(js.update_stream(name="F", subjects=["F"], max_bytes=20000), 10047)
    await js.add_stream(name="G")
    await refused(js.add_stream(name="H"), 10027)
    assert await fill(js, "G", 1500, 10002) == 6
    await refused(js.publish("F", bytes(1500)), 10002)
    other = (await connect(server, user="b", password="b")).jetstream(timeout=10)
    await other.add_stream(name="G")
    await other.publish("G", bytes(20000))
    await js.delete_stream("G")
    await js.publish("F", bytes(1500))
    info = await js.add_consumer("F", durable_name="a", ack_policy="explicit")
    assert info.config.max_ack_pending == 50
    await refused(js.add_consumer("F", durable_name="b", ack_policy="explicit", max_ack_pending=100), 10121)
    await refused(js.add_consumer("F", durable_name="b", ack_policy="explicit", max_ack_pending=10), 10026)


async def test_a_full_stream_goes_on_at_the_accounts_limit(make_server, connect, tmp_path):
    """Old messages go for new ones: the account does not grow."""
    server = make_server(config=ACCOUNTS.format(dir=tmp_path, store=10000, more=""))
    js = (await connect(server, user="a", password="a")).jetstream(timeout=10)
    await js.add_stream(name="F", max_bytes=10000)
    for i in range(1, 41):
        assert (await js.publish("F", bytes(900))).seq == i
    state = (await js.stream_info("F")).state
    assert state.bytes <= 10000 and state.messages >= 10


async def test_max_bytes_required(make_server, connect, tmp_path):
    server = make_server(config=ACCOUNTS.format(dir=tmp_path, store=10000, more="max_bytes_required: true, store_max_stream_bytes: 5000"))
    js = (await connect(server, user="a", password="a")).jetstream(timeout=10)
    await refused(js.add_stream(name="F"), 10113)
    await refused(js.add_stream(name="F", max_bytes=6000), 10122)
    await js.add_stream(name="F", max_bytes=5000)
    await refused(js.update_stream(name="F", subjects=["F"], max_bytes=5001), 10122)


@pytest.mark.thebes  # nats-server 2.9 does not take a changed jetstream block of an account from a reload
async def test_limits_are_reloaded_and_counted_after_a_restart(make_server, connect, tmp_path):
    server = make_server(config=ACCOUNTS.format(dir=tmp_path, store=10000, more=""))
    js = (await connect(server, user="a", password="a")).jetstream(timeout=10)
    await js.add_stream(name="G")
    assert await fill(js, "G", 1500, 10002) == 6
    server.kill()
    server.start()
    nc = await connect(server, user="a", password="a")
    js = nc.jetstream(timeout=10)
    await refused(js.publish("G", bytes(1500)), 10002)
    (server.directory / "server.conf").write_text(ACCOUNTS.format(dir=tmp_path, store=20000, more=""))
    server.reload()
    while json.loads((await nc.request("$JS.API.INFO", b"", timeout=5)).data)["limits"]["max_storage"] != 20000:
        pass
    assert await fill(js, "G", 1500, 10002) == 7


@pytest.mark.thebes  # nats-server 2.9 does it, but may lose what meets its reload
async def test_jetstream_of_an_account_is_switched_by_a_reload(make_server, connect, tmp_path):
    def config(**accounts):
        blocks = "\n".join(f"  {name} {{ {more} users: [{{user: {name}, password: p}}] }}" for name, more in accounts.items())
        return f"jetstream {{ store_dir: {tmp_path}/js }}\naccounts {{\n{blocks}\n}}\n"

    async def becomes(nc, code):
        async with asyncio.timeout(10):
            while True:
                try:
                    answer = json.loads((await nc.request("$JS.API.INFO", b"", timeout=1)).data)
                except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
                    continue  # nats-server 2.9 loses a request that meets its reload
                if answer.get("error", {}).get("err_code") == code:
                    return

    server = make_server(config=config(A=""))
    a = await connect(server, user="A", password="p")
    await becomes(a, 10039)
    (server.directory / "server.conf").write_text(config(A="jetstream: enabled,", B="jetstream: enabled,"))
    server.reload()
    await becomes(a, None)
    for nc in (a, await connect(server, user="B", password="p")):
        js = nc.jetstream(timeout=10)
        await js.add_stream(name="S")
        await js.publish("S", b"x")
        sub = await js.pull_subscribe("S", "d")
        await (await sub.fetch(1, timeout=5))[0].ack_sync(timeout=5)
    (server.directory / "server.conf").write_text(config(A="", B="jetstream: enabled,"))
    server.reload()
    await becomes(a, 10039)
    for restart in (False, True):
        if restart:
            server.kill()
            server.start()
            a = await connect(server, user="A", password="p")
        with pytest.raises(nats.errors.NoRespondersError):
            await a.request("S", b"y", timeout=5)
    (server.directory / "server.conf").write_text(config(A="jetstream: enabled,", B="jetstream: enabled,"))
    server.reload()
    await becomes(a, None)
    assert (await a.jetstream(timeout=10).publish("S", b"y")).seq == 2


async def test_limits_of_what_streams_and_consumers_may_ask_for(make_server, connect, tmp_path):
    server = make_server(config=f'jetstream {{ store_dir: "{tmp_path}/s", limits {{ max_request_batch: 5, max_ack_pending: 10, duplicate_window: "1s" }} }}\n')
    nc = await connect(server)
    js = nc.jetstream(timeout=10)
    assert (await js.add_stream(name="S")).config.duplicate_window == 1
    await refused(js.add_stream(name="T", duplicate_window=5), 10052)
    await refused(js.update_stream(name="S", subjects=["S"], duplicate_window=2), 10052)
    await refused(js.add_consumer("S", durable_name="c", ack_policy="explicit", max_ack_pending=11), 10121)

    async def consumer(**config):
        body = {"stream_name": "S", "config": {"durable_name": "c", "ack_policy": "explicit", **config}}
        return json.loads((await nc.request("$JS.API.CONSUMER.DURABLE.CREATE.S.c", json.dumps(body).encode(), timeout=10)).data)

    error = (await consumer(max_batch=6))["error"]
    assert error["err_code"] == 10125 and error["description"] == "consumer max request batch exceeds server limit of 5"
    config = (await consumer())["config"]
    assert config["max_ack_pending"] == 10 and config["max_batch"] == 5
