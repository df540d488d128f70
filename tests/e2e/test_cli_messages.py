# SPDX-License-Identifier: Apache-2.0
"""Messages through the command line: many at a time, of any bytes, and what is said when it does not go well."""
import json
import os
import select
import signal
import subprocess
import time

import pytest

from cli_run import bad, good, in_pipe, is_asleep, is_full, lines, run  # noqa: F401 (run is a fixture)
from harness import until

pytestmark = [pytest.mark.jetstream, pytest.mark.thebes]

ALL_BYTES = bytes(range(256)) + b"\n\n\r\n\0" + b"\xff\xfe" * 10


def stored(run, station):
    return lines(run("station", "info", station, "--json"))[0]["state"]["messages"]


# ---- produce: many lines ----


def test_many_lines_keep_their_order(run):
    good(run("station", "add", "many"))
    text = "".join(f"line {i}\n" for i in range(20000))
    assert "20000 stored, last sequence 20000" in good(run("produce", "many", input=text))
    assert good(run("consume", "many")) == text
    assert "300 stored" in good(run("produce", "many", "--window", "1", input="x\n" * 300))
    assert "7 stored" in good(run("produce", "many", "-n", "7", input=text))
    assert "5 stored" in good(run("produce", "many", "same", "-n5"))
    assert "0 stored" in good(run("produce", "many", input=""))
    acks = lines(run("produce", "many", "--json", input=text))
    assert [a["seq"] for a in acks] == list(range(20313, 40313))
    bad(run("produce", "many", "--window", "0", input="x\n"), 2, "--window")


def test_partitions_take_turns(run):
    good(run("station", "add", "parts", "--partitions", "3"))
    text = "".join(f"{i}\n" for i in range(3000))
    good(run("produce", "parts", input=text))
    assert [s["state"]["messages"] for s in lines(run("station", "info", "parts", "--json"))] == [1000] * 3
    first = good(run("consume", "parts", "-n", "1234")).split()
    rest = good(run("consume", "parts")).split()
    assert len(first) == 1234 and sorted(map(int, first + rest)) == list(range(3000))
    for part in range(3):  # each partition in its order
        mine = [int(x) for x in first + rest if int(x) % 3 == part]
        assert mine == sorted(mine)


async def test_the_first_failure_is_named(run, connect, server):
    js = (await connect(server)).jetstream(timeout=10)
    await js.add_stream(name="LIM", subjects=["lim"], max_msg_size=10)
    bad(run("produce", "LIM", input="a\nb\n" + "x" * 20 + "\nc\n" + "y" * 20 + "\nd\n"), 1, "line 3 is not stored", "10054", "; 4 stored, 2 of them behind it")
    assert good(run("consume", "LIM")) == "a\nb\nc\nd\n"
    bad(run("produce", "LIM", "x" * 11), 1, "message 1 is not stored", "10054", "0 stored")
    bad(run("produce", "LIM", input="ok\n" + "x" * (1 << 20) + "x\nlast\n"), 1, "line 2 is not stored", "1048576 bytes", "max_payload", "; 1 stored")
    bad(run("produce", "LIM", "x" * 100_000, "-n", "20"), 1, "message 1 ")
    code, out, err = run("produce", "LIM", "--json", input="a\n" + "x" * 20 + "\n")
    assert code == 1 and [json.loads(x)["seq"] for x in out.splitlines()] == [6] and "line 2" in json.loads(err)["error"]


def test_lines_are_stored_while_more_may_come(run):
    good(run("station", "add", "slow"))
    producer = run.spawn("produce", "slow", stdin=subprocess.PIPE)
    for i in range(1, 4):
        producer.stdin.write(f"{i}\n")
        producer.stdin.flush()
        until(lambda: stored(run, "slow") == i, f"line {i} stored")
    producer.stdin.write("without an end")
    assert "4 stored" in producer.communicate(timeout=60)[0] and producer.returncode == 0
    assert good(run("consume", "slow")) == "1\n2\n3\nwithout an end\n"


def fill(process, line):
    """Writes lines, each at once or not at all, until the process takes no more and the pipe is full; returns how many."""
    assert len(line) <= select.PIPE_BUF
    count = 0
    while not (is_asleep(process) and is_full(process.stdin)):  # in this order: what is full may be read meanwhile
        if select.select([], [process.stdin], [], 0.01)[1]:
            count += os.write(process.stdin.fileno(), line) == len(line)
    return count


def test_standard_input_waits_for_the_server(run, server):
    """What is on its way is bounded, whatever is poured in."""
    good(run("station", "add", "press"))
    producer = run.spawn("produce", "press", "--timeout", "50s", "--window", "60000", stdin=subprocess.PIPE, text=False)
    producer.stdin.write(b"first\n")
    producer.stdin.flush()
    until(lambda: stored(run, "press") == 1, "the first line stored")
    server.process.send_signal(signal.SIGSTOP)
    count = fill(producer, b"x" * 1999 + b"\n")
    server.process.send_signal(signal.SIGCONT)
    assert 1000 < count < 8000  # 8 MiB on their way, and what sockets and pipe hold
    out = producer.communicate(timeout=60)[0]
    assert f"{count + 1} stored" in out.decode() and producer.returncode == 0


def produce_and_stop(run, server, station, timeout, first, then):
    """A producer whose first lines are stored and whose next ones go to a server that is stopped."""
    producer = run.spawn("produce", station, "--timeout", timeout, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    producer.stdin.write(first)
    producer.stdin.flush()
    until(lambda: stored(run, station) == first.count("\n"), "the first lines stored")
    server.process.send_signal(signal.SIGSTOP)
    producer.stdin.write(then)
    producer.stdin.flush()
    return producer


def test_a_server_that_dies_leaves_lines_in_doubt(run, server):
    good(run("station", "add", "doubt"))
    producer = produce_and_stop(run, server, "doubt", "20s", "1\n2\n", "3\n4\n5\n")
    until(lambda: in_pipe(producer.stdin) == 0 and is_asleep(producer), "the lines on their way")
    server.kill()
    out, err = producer.communicate(timeout=60)
    assert producer.returncode == 1 and out == "" and "2 stored, line 3 to 5 may be or not" in err and "server closed" in err, err
    server.start()
    assert "stored" in good(run("produce", "doubt", "again"))


def test_no_acknowledgement_in_time(run, server):
    good(run("station", "add", "late"))
    producer = produce_and_stop(run, server, "late", "1s", "1\n", "2\n")
    err = producer.communicate(timeout=60)[1]
    server.process.send_signal(signal.SIGCONT)
    assert producer.returncode == 1 and "no acknowledgement in time" in err and "line 2 may be or not" in err


def test_interrupted_produce_says_what_is_stored(run):
    good(run("station", "add", "stop"))
    producer = run.spawn("produce", "stop", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    producer.stdin.write("1\n2\n3\n")
    producer.stdin.flush()
    until(lambda: stored(run, "stop") == 3, "the lines stored")
    producer.send_signal(signal.SIGINT)
    assert producer.wait(60) == -signal.SIGINT
    assert "3 stored" in producer.stderr.read()
    producer.stdin.close()


# ---- ids and headers ----


def test_ids(run):
    good(run("station", "add", "ids"))
    orders = "".join(f"{i}\n" for i in range(500))
    for _ in range(2):
        assert "500 stored" in good(run("produce", "ids", "--id-prefix", "import", input=orders))
        assert stored(run, "ids") == 500
    (one,) = lines(run("consume", "ids", "-n", "1", "--json"))
    assert one["headers"] == {"Nats-Msg-Id": "import-1"}
    for words, text in ((("--id", "a"), "1\n2\n"), (("--id", "a"), "1\n2"), (("x", "--id", "a", "-n", "2"), "")):
        bad(run("produce", "ids", *words, input=text), 2, "--id names one message", "--id-prefix")
    assert stored(run, "ids") == 500
    for words, text in ((("--id", "a"), "1\n"), (("--id", "b", "-n", "1"), "1\n2\n"), (("x", "--id", "c"), "")):
        assert "1 stored" in good(run("produce", "ids", *words, input=text))
    assert stored(run, "ids") == 503
    bad(run("produce", "ids", "x", "--id", "a", "--id-prefix", "b"), 2, "one of them")
    bad(run("produce", "ids", "x", "--id", "a\nb"), 2, "line breaks")
    bad(run("produce", "ids", "--id-prefix", "a\nb", input="x\n"), 2, "line breaks")


def test_headers(run):
    good(run("station", "add", "h"))
    good(run("produce", "h", "x", "-H", "Type: a: b", "--header", "Empty:", "-HThird:c", "--id", "i"))
    (one,) = lines(run("consume", "h", "--json"))
    assert one["headers"] == {"Type": "a: b", "Empty": "", "Third": "c", "Nats-Msg-Id": "i"}
    for wrong in ("novalue", ": x", "A B: c", "A: b\r\nC: d"):
        bad(run("produce", "h", "x", "-H", wrong), 2, "KEY:VALUE")
        bad(run("pub", "h", "x", "-H", wrong), 2, "KEY:VALUE")


# ---- any bytes ----


def test_bytes_go_through_as_they_are(run, tmp_path):
    good(run("station", "add", "b"))
    path = tmp_path / "all"
    path.write_bytes(ALL_BYTES)
    for words, text in ((("--file", path), b""), (("-F", "-"), ALL_BYTES), (("--raw",), ALL_BYTES)):
        assert b"1 stored" in good(run("produce", "b", *words, input=text, text=False))
        assert good(run("consume", "b", "--raw", "-n", "1", text=False)) == ALL_BYTES
    pieces = ALL_BYTES.split(b"\0")
    good(run("produce", "b", "--null", input=ALL_BYTES + b"\0", text=False))
    assert good(run("consume", "b", "--null", text=False)) == ALL_BYTES + b"\0"
    assert b"%d stored" % len(pieces) in good(run("produce", "b", "-0", input=ALL_BYTES, text=False))
    assert [json.loads(m).get("data_hex") or json.loads(m)["data"].encode().hex() for m in good(run("consume", "b", "-j", text=False)).splitlines()] == [p.hex() for p in pieces]
    with run.spawn("sub", "raw.x", "--raw", "-n", "2", text=False) as subscriber:
        while subscriber.poll() is None:
            good(run("pub", "raw.x", "--file", path))
        assert subscriber.stdout.read() == 2 * ALL_BYTES


def test_empty_messages(run, tmp_path):
    good(run("station", "add", "e"))
    (tmp_path / "empty").touch()
    for words, text in (((""), ""), (("--file", tmp_path / "empty"), ""), (("--raw",), ""), ((), "\n")):
        assert "1 stored" in good(run("produce", "e", *([words] if words == "" else words), input=text))
    assert [m["data"] for m in lines(run("consume", "e", "--json", "--group", "g"))] == [""] * 4
    assert good(run("consume", "e")) == "\n" * 4
    assert "published 1" in good(run("pub", "e", ""))


def test_one_message_too_many(run, tmp_path):
    good(run("station", "add", "one"))
    big = tmp_path / "big"
    big.write_bytes(b"x" * (1 << 20) + b"x")
    for words in (("produce", "one"), ("pub", "one"), ("request", "one")):
        bad(run(*words, "--file", big), 1, str(big), "1048576 bytes", "max_payload")
        bad(run(*words, "--file", tmp_path / "none"), 1, "can not open", "No such file")
        bad(run(*words, "--file", tmp_path), 1, "can not read", "directory")
        bad(run(*words, "text", "--file", big), 2, "TEXT and --file")
    bad(run("pub", "one", input="x" * (1 << 21)), 1, "standard input", "max_payload")
    bad(run("produce", "one", "--raw", input="x" * (1 << 21)), 1, "standard input", "max_payload")
    bad(run("produce", "one", "--raw", "text"), 2, "--raw")
    bad(run("produce", "one", "--null", "text"), 2, "--null")
    bad(run("produce", "one", "hello", "world"), 2, "world", "quotes")
    nobody = subprocess.run(["sh", "-c", 'exec "$@" <&-', "-", *run.spawn("produce", "one", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).args], capture_output=True, text=True, timeout=60)
    assert nobody.returncode == 1 and "can not read standard input" in nobody.stderr
    assert stored(run, "one") == 0


# ---- consume: what was not shown comes again, at once ----


def test_a_stalled_reader_and_ctrl_c(run):
    """The reader of the pipe stops reading, Ctrl-C ends the consumer: every message was shown whole, or is there for the next."""
    good(run("station", "add", "stall"))
    all_of_them = [f"{i:04} " + "x" * 5000 for i in range(100)]
    good(run("produce", "stall", input="".join(f"{m}\n" for m in all_of_them)))
    consumer = run.spawn("consume", "stall", "--follow")
    assert consumer.stdout.read(5) == "0000 "
    until(lambda: is_asleep(consumer) and is_full(consumer.stdout), "a full pipe")
    began = time.monotonic()
    consumer.send_signal(signal.SIGINT)
    assert consumer.wait(30) == -signal.SIGINT
    shown = ("0000 " + consumer.stdout.read()).split("\n")[:-1]  # what follows the last line end is half a message
    rest = good(run("consume", "stall")).splitlines()
    assert time.monotonic() - began < 20  # ack_wait is 30 s
    assert 0 < len(shown) < 100 and shown + rest == all_of_them


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_waiting_consumer_leaves_nothing_behind(run, how):
    good(run("station", "add", "wait", "--partitions", "2"))
    consumer = run.spawn("consume", "wait", "--follow")
    good(run("produce", "wait", input="1\n2\n"))
    assert sorted(consumer.stdout.readline() for _ in range(2)) == ["1\n", "2\n"]
    consumer.send_signal(how)
    assert consumer.wait(30) == -how and consumer.stdout.read() == ""
    good(run("produce", "wait", input="3\n4\n"))
    assert sorted(good(run("consume", "wait")).split()) == ["3", "4"]
    assert all(c["num_ack_pending"] == 0 for c in group_infos(run, "wait"))


def group_infos(run, station):
    for info in lines(run("station", "info", station, "--json")):
        yield json.loads(good(run("request", f"$JS.API.CONSUMER.INFO.{info['config']['name']}.cli", "", "--raw")))


def test_follow_goes_on(run):
    good(run("station", "add", "tail", "--partitions", "2"))
    consumer = run.spawn("consume", "tail", "--follow", "-n", "2000")
    for i in range(0, 2000, 500):
        good(run("produce", "tail", input="".join(f"{j}\n" for j in range(i, i + 500))))
    out = consumer.communicate(timeout=60)[0].split()
    assert consumer.returncode == 0 and sorted(map(int, out)) == list(range(2000))
    assert all(c["num_ack_pending"] == 0 and c["num_pending"] == 0 for c in group_infos(run, "tail"))


def test_a_station_that_goes_ends_its_consumers(run):
    good(run("station", "add", "gone"))
    consumer = run.spawn("consume", "gone", "--follow", stderr=subprocess.PIPE)
    good(run("produce", "gone", "x"))
    assert consumer.stdout.readline() == "x\n"
    good(run("station", "rm", "gone", "-y"))
    err = consumer.communicate(timeout=60)[1]
    assert consumer.returncode == 1 and "no more messages" in err and err.count("\n") == 1


def test_a_reader_that_is_gone(run):
    """`thebes station ls | head`: quiet, and dead of SIGPIPE as others are."""
    for i in range(3):
        good(run("station", "add", f"s{i}"))
    read_end, write_end = os.pipe()
    os.close(read_end)
    for words in (("station", "ls"), ("station", "ls", "--json"), ("station", "info", "s1"), ("help",)):
        process = run.spawn(*words, stdout=write_end, stderr=subprocess.PIPE)
        assert process.communicate(timeout=60)[1] == "" and process.returncode == -signal.SIGPIPE, words
    os.close(write_end)
    with open("/dev/full", "w") as full:
        process = run.spawn("station", "ls", stdout=full, stderr=subprocess.PIPE)
        assert "standard output (No space left" in process.communicate(timeout=60)[1] and process.returncode == 1
