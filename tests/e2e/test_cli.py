# SPDX-License-Identifier: Apache-2.0
"""`thebes station …`, produce, consume, pub, sub, request and bench, as somebody who reads only what they print."""
import asyncio
import json
import os
import subprocess

import pytest

from harness import binary_under_test

pytestmark = [pytest.mark.jetstream, pytest.mark.thebes]


@pytest.fixture
def run(server):
    """run(word, ...): exit code, standard output, standard error of `thebes word …` against the server."""

    def call(*words, input="", env=None, url=True):
        argv = [str(binary_under_test()), *words] + (["--server", server.url()] if url else [])
        env = {**{k: v for k, v in os.environ.items() if not k.startswith("THEBES_")}, **(env or {})}
        done = subprocess.run(argv, env=env, input=input, capture_output=True, text=True, timeout=60)
        assert "AddressSanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    call.spawn = lambda *words, **how: subprocess.Popen([str(binary_under_test()), *words, "--server", server.url()], **{"stdout": subprocess.PIPE, "text": True, **how})
    return call


def good(result):
    code, out, err = result
    assert code == 0, (out, err)
    return out


def lines(result):
    return [json.loads(line) for line in good(result).splitlines()]


def bad(result, code, *words):
    got, out, err = result
    assert got == code and err.startswith("thebes: ") and err.count("\n") == 1, (got, out, err)
    for word in words:
        assert word in err, err


def test_a_first_run(run):
    assert "thebes station add" in good(run("station", "ls"))
    assert "thebes produce Orders.EU" in good(run("station", "add", "Orders.EU", "--max-age", "24h"))
    assert "1 stored, last sequence 1" in good(run("produce", "orders.eu", "hello"))
    assert "2 stored, last sequence 3" in good(run("produce", "orders.eu", input="a\nb\n"))
    assert good(run("consume", "orders.eu", "--group", "g", "-n", "1")) == "hello\n"
    assert good(run("consume", "orders.eu", "--group", "g")) == "a\nb\n"
    code, out, err = run("consume", "orders.eu", "--group", "g")
    assert code == 0 and out == "" and "nothing to consume" in err
    assert good(run("consume", "orders.eu", "--group", "other", "--no-ack")) == "hello\na\nb\n"
    info = good(run("station", "info", "orders.eu"))
    assert "station orders.eu, partition 1" in info and "24h0m0s" in info and "3, sequences 1 to 3" in info and "groups       2" in info
    row = good(run("station", "ls")).splitlines()[1].split()
    assert row[:3] == ["orders.eu", "1", "3"] and row[4] == "2"
    assert "3 messages removed" in good(run("station", "purge", "orders.eu", "--yes"))
    assert "removed" in good(run("station", "rm", "orders.eu", "-y"))
    assert "no stations yet" in good(run("station", "ls"))


def test_json_everywhere(run):
    assert lines(run("station", "add", "j.s", "--json", "--partitions", "2")) == [{"station": "j.s", "partitions": 2}]
    assert [m["seq"] for m in lines(run("produce", "j.s", "--json", input="1\n2\n3\n"))] == [1, 1, 2]
    assert {(s["station"], s["partition"], s["state"]["messages"]) for s in lines(run("station", "ls", "-j"))} == {("j.s", 1, 2), ("j.s", 2, 1)}
    info = lines(run("station", "info", "j.s", "--json"))
    assert [(i["station"], i["config"]["name"]) for i in info] == [("j.s", "j#s$1"), ("j.s", "j#s$2")]
    got = lines(run("consume", "j.s", "--json"))
    assert sorted(m["data"] for m in got) == ["1", "2", "3"] and {m["subject"] for m in got} == {"j#s$1.final", "j#s$2.final"}
    assert sum(a["purged"] for a in lines(run("station", "purge", "j.s", "--json", "-y"))) == 3
    assert all(a["success"] for a in lines(run("station", "rm", "j.s", "--json", "-y")))
    assert lines(run("station", "ls", "--json")) == []
    assert lines(run("pub", "a.b", "x", "--json", "-n", "3")) == [{"published": 3}]
    for bench in ("core", "station"):
        (result,) = lines(run("bench", bench, "--msgs", "500", "--json"))
        assert result["bench"] == bench and result["msgs"] == 500 and result["msgs_per_s"] > 0


def test_sentences_that_say_what_to_do(run):
    good(run("station", "add", "there"))
    bad(run("station", "add", "there", "--max-age", "2h"), 1, "other settings", "thebes station info there")
    good(run("station", "add", "there"))
    bad(run("station", "add", "bad name"), 1, "Only alphanumeric")
    bad(run("station", "add", "r", "--replicas", "3"), 1, "10074")
    bad(run("station", "add", "r", "--retention", "x"), 2, "age, messages, bytes or ack")
    bad(run("station", "add", "r", "--retention", "messages"), 2, "--max-msgs")
    bad(run("station", "add", "r", "--storage", "tape"), 1, "file or memory")
    for words in (("station", "info", "none"), ("station", "rm", "none", "-y"), ("produce", "none", "x"), ("consume", "none")):
        bad(run(*words), 1, "no station none", "thebes station add none")
    bad(run("consume", "there", "--group", "b c"), 1, "--group", "Only alphanumeric")
    bad(run("station"), 2, "add, ls, info, purge, rm")
    bad(run("station", "drop", "x"), 2, "add, ls, info, purge, rm")
    bad(run("bogus"), 2, "unknown command", "thebes help")
    bad(run("station", "add"), 2, "usage: thebes station add NAME")
    bad(run("station", "ls", "--bogus"), 2, "--bogus")
    bad(run("station", "ls", "--timeout", "soon"), 2, "30s")
    bad(run("pub", "a.*", "x"), 1, "not a subject")
    bad(run("request", "nobody.there", "x"), 1, "nobody answers")
    bad(run("station", "ls", "--server", "nats://127.0.0.1:1", url=False), 1, "thebes server -js", "--server")
    bad(run("station", "ls", "--server", "http://x", url=False), 1, "nats://")
    assert "station add" in good(run("station", "add", "--help", url=False)) and "usage" in good(run("help", url=False))


def test_options_and_environment(run, server, make_server):
    url = {"THEBES_URL": server.url()}
    assert "no stations yet" in good(run("station", "ls", url=False, env=url))
    assert "no stations yet" in good(run("--server", server.url(), "station", "ls", url=False))
    assert "no stations yet" in good(run("station", "ls", f"--server={server.url()}", url=False, env={"THEBES_URL": "nats://127.0.0.1:1"}))
    locked = make_server("--user", "ann", "--pass", "secret", jetstream=True)
    bad(run("station", "ls", "-s", locked.url(), url=False), 1, "Authorization Violation", "--user")
    who = {"THEBES_USER": "ann", "THEBES_PASSWORD": "secret", "THEBES_URL": locked.url()}
    assert "no stations yet" in good(run("station", "ls", url=False, env=who))
    assert "no stations yet" in good(run("station", "ls", "-s", locked.url("ann", "secret"), url=False))
    assert "no stations yet" in good(run("station", "ls", "-s", locked.url(), "--user", "ann", "--password", "secret", url=False))


async def test_one_model_two_doors(run, connect, server):
    """A stream is a station, a station is a stream, --subjects lets plain clients in."""
    js = (await connect(server)).jetstream(timeout=10)
    await js.add_stream(name="PLAIN", subjects=["plain"])
    assert "1 stored" in good(run("produce", "PLAIN", "from the command line"))
    assert (await js.get_msg("PLAIN", 1)).data == b"from the command line"
    await js.publish("plain", b"from a client")
    assert good(run("consume", "PLAIN")) == "from the command line\nfrom a client\n"
    assert "PLAIN" in good(run("station", "ls"))
    good(run("station", "add", "Shop.Orders", "--subjects", "shop.>,extra"))
    info = await js.stream_info("shop#orders$1")
    assert info.config.subjects == ["shop#orders$1.>", "shop.>", "extra"]
    await js.publish("shop.new", b"1", headers={"Nats-Msg-Id": "one"})
    await js.publish("extra", b"2")
    (ack,) = lines(run("produce", "shop.orders", "3", "--id", "one", "--json"))
    assert ack["duplicate"] is True and ack["seq"] == 1
    got = lines(run("consume", "shop.orders", "--json"))
    assert [(m["subject"], m["data"]) for m in got] == [("shop.new", "1"), ("extra", "2")]
    assert got[0]["headers"] == {"Nats-Msg-Id": "one"}
    bad(run("station", "add", "thief", "--subjects", "shop.new"), 1, "10065")


async def test_follow_sub_and_request(run, connect, server):
    nc = await connect(server)
    good(run("station", "add", "f"))
    follower = run.spawn("consume", "f", "--follow", "-n", "3")
    good(run("produce", "f", input="1\n2\n3\n"))
    assert follower.communicate(timeout=60)[0] == "1\n2\n3\n" and follower.returncode == 0
    subscriber = run.spawn("sub", "s.*", "-n", "1", "--json")
    while subscriber.poll() is None:
        await nc.publish("s.x", b"seen", headers={"K": "v"})
        await nc.flush()
    assert json.loads(subscriber.stdout.read()) == {"subject": "s.x", "data": "seen", "headers": {"K": "v"}}
    subscriber.stdout.close()

    async def answer(msg):
        await msg.respond(b"answer to " + msg.data)

    await nc.subscribe("ask", cb=answer)
    await nc.flush()
    out = await asyncio.to_thread(run, "request", "ask", "me", "-H", "A: b")
    assert good(out) == "answer to me\n"


def test_what_was_not_shown_comes_again(run):
    """`thebes consume pipe | head -3`: what comes after the reader has gone is there for the next."""
    good(run("station", "add", "pipe"))
    good(run("produce", "pipe", input="0\n1\n2\n"))
    consumer = run.spawn("consume", "pipe", "--follow", stderr=subprocess.PIPE)
    assert [consumer.stdout.readline() for _ in range(3)] == ["0\n", "1\n", "2\n"]
    consumer.stdout.close()
    good(run("produce", "pipe", input="3\n4\n"))
    with consumer.stderr as stderr:
        assert "standard output" in stderr.read()
    assert consumer.wait(60) == 1
    assert good(run("consume", "pipe")) == "3\n4\n"


def test_a_full_output_acknowledges_nothing(run):
    good(run("station", "add", "full"))
    good(run("produce", "full", input="a\nb\n"))
    with open("/dev/full", "w") as full:
        consumer = run.spawn("consume", "full", stdout=full, stderr=subprocess.PIPE)
        err = consumer.communicate(timeout=60)[1]
    assert consumer.returncode == 1 and "standard output" in err and err.count("\n") == 1
    assert good(run("consume", "full")) == "a\nb\n"


def test_nothing_is_removed_unasked(run):
    good(run("station", "add", "kept"))
    good(run("produce", "kept", "x"))
    for word in ("purge", "rm"):
        bad(run("station", word, "kept"), 2, "-y", "kept")
        bad(run("station", word, "kept", input="y\n"), 2, "-y")
    assert "1, sequences 1 to 1" in good(run("station", "info", "kept"))
    assert "1 messages removed" in good(run("station", "purge", "kept", "-y"))
    assert "removed" in good(run("station", "rm", "kept", "-y"))


def test_a_start_that_fails_closes_what_it_opened(server):
    """With the monitoring port open already: a store that another server has, a client port that is taken."""
    for words, reason in ((("-js", "-sd", str(server.store), "-p", "-1"), "Can't start JetStream"), (("-p", str(server.port)), "Error listening on port")):
        argv = [str(binary_under_test()), "server", "-a", "127.0.0.1", "-m", "-1", *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and reason in done.stderr and "http monitor" in done.stderr, (done.returncode, done.stderr)
        assert "Server Exiting" in done.stderr and "ssertion" not in done.stderr and "Sanitizer" not in done.stderr, done.stderr
