# SPDX-License-Identifier: Apache-2.0
"""Who may connect, and what they may do then: token, users, permissions, accounts, reload."""
import asyncio

import nats
import nats.errors
import pytest

USERS = """
authorization {
  users = [
    { user: alice, password: secret }
    { user: bob, password: "$2a$04$mGGQqxOAYRUIu2aVZrnGkOrovoyAc2MziDu5b/eOXW1H/5Q5IkecG" }
    { user: reader, password: r, permissions: { publish: { deny: ">" }, subscribe: { allow: ["news.>", "_INBOX.>"], deny: "news.secret" } } }
    { user: service, password: s, permissions: { subscribe: "service", publish: { deny: ">" }, allow_responses: { max: 1, expires: "1m" } } }
  ]
}
"""

ACCOUNTS = """
accounts {
  A { users: [ { user: a, password: a } ] }
  B { users: [ { user: b, password: b } ] }
  SYS { users: [ { user: sys, password: sys } ] }
}
system_account: SYS
no_auth_user: a
"""


async def refused(server, **options):
    with pytest.raises(Exception) as error:
        await nats.connect(options.pop("url", server.url()), allow_reconnect=False, max_reconnect_attempts=0, connect_timeout=5, **options)
    assert "authorization" in str(error.value).lower(), error.value


async def test_token(make_server, connect):
    server = make_server("--auth", "s3cret")
    nc = await connect(server, token="s3cret")
    await nc.flush()
    await refused(server)
    await refused(server, token="wrong")


async def test_user_and_password_by_flag(make_server, connect):
    server = make_server("--user", "u", "--pass", "p")
    await (await connect(server, user="u", password="p")).flush()
    await refused(server, user="u", password="q")
    await refused(server)


async def test_plain_and_bcrypt_passwords(make_server, connect):
    server = make_server(config=USERS)
    assert server.info()["auth_required"] is True
    await (await connect(server, user="alice", password="secret")).flush()
    await (await connect(server, user="bob", password="bobsecret")).flush()
    await refused(server, user="bob", password="secret")
    await refused(server, user="nobody", password="secret")


async def test_error_text_on_the_wire(make_server):
    server = make_server(config=USERS)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await reader.readline()
    writer.write(b"CONNECT {\"user\":\"alice\",\"pass\":\"wrong\"}\r\nPING\r\n")
    assert await reader.readline() == b"-ERR 'Authorization Violation'\r\n"
    assert await reader.read() == b""
    writer.close()


async def test_permissions(make_server, connect):
    server = make_server(config=USERS)
    errors = asyncio.Queue()

    async def on_error(e):
        await errors.put(str(e).lower())

    alice = await connect(server, user="alice", password="secret")
    reader = await connect(server, user="reader", password="r", error_cb=on_error)
    everything = await reader.subscribe("news.>")
    await reader.subscribe("other")
    assert "permissions violation for subscription to \"other\"" in await asyncio.wait_for(errors.get(), 5)
    await reader.publish("news.a", b"")
    assert "permissions violation for publish to \"news.a\"" in await asyncio.wait_for(errors.get(), 5)
    # The denied subject is taken out of a wider subscription, message by message.
    await alice.publish("news.secret", b"no")
    await alice.publish("news.public", b"yes")
    assert (await everything.next_msg(timeout=5)).data == b"yes"


async def test_allow_responses(make_server, connect):
    server = make_server(config=USERS)
    errors = asyncio.Queue()

    async def on_error(e):
        await errors.put(str(e).lower())

    alice = await connect(server, user="alice", password="secret")
    service = await connect(server, user="service", password="s", error_cb=on_error)

    async def answer_twice(msg):
        await msg.respond(b"one")
        await msg.respond(b"two")

    await service.subscribe("service", cb=answer_twice)
    await service.flush()
    assert (await alice.request("service", b"", timeout=5)).data == b"one"
    assert "permissions violation for publish" in await asyncio.wait_for(errors.get(), 5)


async def test_accounts_do_not_see_each_other(make_server, connect):
    server = make_server(config=ACCOUNTS)
    a, b = await connect(server, user="a", password="a"), await connect(server, user="b", password="b")
    anonymous = await connect(server)  # no_auth_user: it is in account A
    in_a, in_b, in_anonymous = [await c.subscribe(">") for c in (a, b, anonymous)]
    for c in (a, b, anonymous):
        await c.flush()
    await a.publish("x", b"from a")
    await b.publish("x", b"from b")
    assert (await in_a.next_msg(timeout=5)).data == b"from a"
    assert (await in_anonymous.next_msg(timeout=5)).data == b"from a"
    assert (await in_b.next_msg(timeout=5)).data == b"from b"
    for c in (a, b, anonymous):
        await c.flush()
    assert [s.pending_msgs for s in (in_a, in_b, in_anonymous)] == [0, 0, 0]


async def test_reload_changes_the_users(make_server, connect):
    server = make_server(config='authorization { user: old, password: p }\n')
    await (await connect(server, user="old", password="p")).flush()
    (server.directory / "server.conf").write_text('authorization { user: new, password: p }\n')
    closed = asyncio.Event()

    async def on_close():
        closed.set()

    old = await connect(server, user="old", password="p", closed_cb=on_close)
    server.reload()
    await asyncio.wait_for(closed.wait(), 10)
    assert old.is_closed
    await (await connect(server, user="new", password="p")).flush()
    await refused(server, user="old", password="p")
