# SPDX-License-Identifier: Apache-2.0
"""`thebes station …`, produce, consume, pub, sub, request and bench, as somebody who reads only what they print."""
import asyncio
import json
import subprocess

import pytest

from cli_run import bad, good, lines, run, thebes  # noqa: F401 (run is a fixture)
from harness import binary_under_test

pytestmark = [pytest.mark.jetstream, pytest.mark.thebes]


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
    bad(run("station", "add", "bad name"), 2, "Only alphanumeric")
    bad(run("station", "add", "r", "--replicas", "3"), 1, "10074")
    bad(run("station", "add", "r", "--retention", "x"), 2, "age, messages, bytes or ack")
    bad(run("station", "add", "r", "--retention", "messages"), 2, "--max-msgs")
    bad(run("station", "add", "r", "--storage", "tape"), 2, "file or memory")
    for words in (("station", "info", "none"), ("station", "rm", "none", "-y"), ("produce", "none", "x"), ("consume", "none")):
        bad(run(*words), 1, "no station none", "thebes station add none")
    bad(run("consume", "there", "--group", "b c"), 2, "--group", "Only alphanumeric")
    bad(run("station"), 2, "add, ls, info, purge, rm")
    bad(run("station", "drop", "x"), 2, "add, ls, info, purge, rm")
    bad(run("bogus"), 2, "unknown command", "thebes help")
    bad(run("station", "add"), 2, "usage: thebes station add NAME")
    bad(run("station", "ls", "--bogus"), 2, "--bogus")
    bad(run("station", "ls", "--timeout", "soon"), 2, "30s")
    bad(run("pub", "a.*", "x"), 2, "not a subject")
    bad(run("request", "nobody.there", "x"), 1, "nobody answers")
    bad(run("station", "ls", "--server", "nats://127.0.0.1:1", url=False), 1, "thebes server -js", "--server")
    bad(run("station", "ls", "--server", "http://x", url=False), 1, "nats://")
    assert "station add" in good(run("station", "add", "--help", url=False)) and "usage" in good(run("help", url=False))


NOUNS = "server station produce consume pub sub request bench check help version".split()


def test_help_in_three_sizes(run):
    """Everything; a noun's verbs; one command with its options and examples. By every way of asking."""
    everything = good(run("--help", url=False))
    assert all(f"\n  {noun} " in everything for noun in NOUNS) and "--tlscacert FILE" in everything and "Exit codes" in everything
    for words in (("help",), ("-h",), ("help", "--json"), ("--server", "nowhere", "--help")):
        assert good(run(*words, url=False)) == everything
    code, out, err = run(url=False)
    assert (code, out, err) == (2, "", everything)
    for words in (("station", "--help"), ("help", "station"), ("-h", "station")):
        noun = good(run(*words, url=False))
        assert all(f"  station {verb}" in noun for verb in ("add", "ls", "info", "purge", "rm")) and "\n  thebes station add orders" in noun
    for command in ("station add", "station ls", "station rm", "produce", "consume", "pub", "sub", "request", "bench core", "bench station", "check"):
        one = good(run("help", *command.split(), url=False))
        assert one.startswith(f"usage: thebes {command} ") and "\nExamples\n  thebes " in one and one == good(run(*command.split(), "--help", url=False))
    assert "--id-prefix" in good(run("help", "produce", url=False)) and "--group" not in good(run("help", "produce", url=False))
    assert "thebes server --help" in good(run("help", "server", url=False))


NEAREST = [
    ("stations", "mean station?"), ("prodcue s x", "mean produce?"), ("publish a b", "mean pub?"), ("subscribe a", "mean sub?"), ("serve", "mean server?"),
    ("stream ls", "mean station?"), ("cons s", "mean consume?"), ("station list", "mean ls?"), ("station delete x", "mean rm?"), ("station ifno x", "mean info?"),
    ("bench stations", "mean station?"), ("help prodcue", "mean produce?"), ("help station create", "mean add?"), ("xyzzy", "thebes help"),
    ("station add x --max-mesgs 1", "mean --max-msgs?"), ("station ls --sever x", "mean --server?"), ("consume x -help", "mean --help?"), ("pub a b -z", "unknown option -z"), ("station ls --timeout", "wants a duration")]


def test_the_nearest_word():
    for words, hint in NEAREST:
        bad(thebes(*words.split()), 2, hint)


WRONG = [
    ("pub a b --group g", "thebes pub has no option --group"), ("station ls -y", "no option --yes"), ("station ls extra", "extra"), ("check", "usage: thebes check DIR"),
    ("station ls --json=false", "takes no value"), ("station add x --partitions many", "is not a number"),
    ("station add x --max-bytes 1XB", "64KiB"), ("station add x --max-msgs 5", "--max-msgs goes with --retention messages"),
    ("station add x --retention ack --max-age 1h", "--max-age goes with --retention age"), ("station add x --partitions 0", "--partitions is 1 to"),
    ("sub a..b", "not a subject"), ("request a.> x", "* and >"), ("pub a b --reply c.*", "--reply"), ("bench core --msgs 0", "--msgs"), ("a " * 17, "too many")]


def test_a_wrong_command_line(run):
    """Exit code 2 and one sentence; with --json an object."""
    for words, hint in WRONG:
        bad(run(*words.split()), 2, hint)
        code, out, err = run("--json", *words.split())
        assert code == 2 and out == "" and hint in json.loads(err)["error"] and err.count("\n") == 1


def test_json_errors(run):
    for words, code in ((("station", "info", "none"), 1), (("produce", "none", "x"), 1), (("station", "nothing"), 2), (("pub", "a", "\udcff", "b"), 2), (("station", "rm", "x"), 2)):
        got, out, err = run(*words, "--json")
        assert got == code and out == "" and list(json.loads(err)) == ["error"] and err.count("\n") == 1
    bad(run("station", "info", "a\x1b[31mb"), 1, "\\x1b")  # what others wrote does not drive the terminal


def test_the_server_under_two_names(tmp_path):
    """A wrong flag: nats-server prints its usage and ends with 0, and so do we under that name. `thebes server` fails, for scripts."""
    named = tmp_path / "nats-server"
    named.symlink_to(binary_under_test().resolve())
    for words in (["--bogus"], ["-p"], ["-p", "x"]):
        own = subprocess.run([str(binary_under_test()), "server", *words], capture_output=True, text=True, timeout=60)
        theirs = subprocess.run([str(named), *words], capture_output=True, text=True, timeout=60)
        assert (own.returncode, theirs.returncode) == (2, 0) and own.stderr == theirs.stderr != ""
        assert "Usage: thebes server [options]" in own.stdout and "Usage: nats-server [options]" in theirs.stdout
    own = subprocess.run([str(binary_under_test()), "server", "bogus"], capture_output=True, text=True, timeout=60)
    assert own.returncode == 1 and own.stderr == 'thebes server: unrecognized command: "bogus"\n'


def test_signals_are_for_servers(run, server):
    """`thebes server --signal` without a process id looks for servers: a client of the same name is none."""
    client = run.spawn("sub", "a")
    target = [str(binary_under_test()), "server", "--signal", f"term={client.pid}*"]
    done = subprocess.run(target, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "could not find a server" in done.stderr and client.poll() is None
    client.terminate()
    assert client.wait(60) == -15
    client.stdout.close()
    done = subprocess.run([*target[:-1], f"term={server.process.pid}*"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and server.process.wait(60) == 0


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
    theirs = {"NATS_USER": "ann", "NATS_PASSWORD": "secret", "NATS_URL": locked.url()}
    assert "no stations yet" in good(run("station", "ls", url=False, env=theirs))
    assert "no stations yet" in good(run("station", "ls", url=False, env={**theirs, **url}))  # ours goes first; nobody asks for a password there
    bad(run("station", "ls", url=False, env={**theirs, "THEBES_PASSWORD": "other"}), 1, "Authorization Violation")
    bad(run("station", "ls", url=False, env={"THEBES_TIMEOUT": "soon"}), 2, "environment variable THEBES_TIMEOUT", "30s")
    assert "no stations yet" in good(run("station", "ls", "--timeout", "9s", env={"THEBES_TIMEOUT": "soon"}))


def test_urls(run, server, make_server):
    port = server.port
    for url in (f"127.0.0.1:{port}", f"nats://127.0.0.1:{port}/", f"NATS://127.0.0.1:{port}", f"tcp://localhost:{port}", f"nats://127.0.0.1:1,127.0.0.1:{port}", f"nats://127.0.0.1:1, nats://127.0.0.1:{port}"):
        assert "no stations yet" in good(run("station", "ls", "-s", url, url=False))
    for url in ("http://x", "nats://", "nats://h:0", "nats://h:99999", "nats://h:", "nats://[::1", "nats://u:p%zz@h", "ws://h", "a b:c"):
        bad(run("station", "ls", "-s", url, url=False), 1, "nats://[user[:password]@]host[:port]")
    bad(run("station", "ls", "-s", "nats://127.0.0.1:1,127.0.0.1:2", url=False), 1, "127.0.0.1:2")
    locked = make_server(config="authorization { user: 'a@b', password: 'p:w/%' }\n", jetstream=True)
    here = f"127.0.0.1:{locked.port}"
    for who in ("a%40b:p%3aw%2F%25", "a@b:p:w/%25"):
        assert "no stations yet" in good(run("station", "ls", "-s", f"nats://{who}@{here}", url=False))
    code, out, err = run("station", "ls", "-s", f"nats://a@b:secret%@{here}", url=False)
    assert code == 1 and "secret" not in err and "%25" in err
    wrong = f"nats://a%40b:wrong@{here}"
    bad(run("station", "ls", "-s", wrong, url=False), 1, "Authorization Violation")
    good(run("station", "ls", "-s", wrong, "--password", "p:w/%", url=False))  # said on the command line: before the URL
    bad(run("station", "ls", "-s", wrong, url=False, env={"THEBES_USER": "a@b", "THEBES_PASSWORD": "p:w/%"}), 1, "Authorization")  # the URL before the environment


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
