# SPDX-License-Identifier: Apache-2.0
"""The other clients that users have: npm packages, nats.go, the nats command. Each runs as a process of its own; scripts/test installs them."""
import json
import os
import shutil
import subprocess

import pytest

from harness import BUILD, run_client

pytestmark = pytest.mark.other_client

NODE = BUILD / "e2e-node"
GO = BUILD / "tools" / "bin" / "nats_go_test"
NATS = BUILD / "tools" / "bin" / "nats"


def node(server, file):
    return run_client([shutil.which("node"), "--test", NODE / file], server)


def test_node_core(server):
    node(server, "core.test.mjs")


@pytest.mark.jetstream
def test_node_jetstream(server):
    node(server, "jetstream.test.mjs")


def test_go_core(server):
    assert "PASS" in run_client([GO, "-test.v", "-test.run", "^TestCore"], server)


@pytest.mark.jetstream
def test_go_jetstream(server):
    assert "PASS" in run_client([GO, "-test.v", "-test.run", "^TestJetStream"], server)


@pytest.fixture
def cli(server, tmp_path):
    """cli(word, ...): the nats command against the server, with no settings of the user's."""
    env = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "NATS_TIMEOUT": "10s"}

    def run(*words, input=None):
        return run_client([NATS, *words], server, env=env, input=input)

    def spawn(*words):
        return subprocess.Popen([str(NATS), *words], env={**os.environ, "NATS_URL": server.url(), **env}, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)

    run.spawn = spawn
    return run


def wait_for_line(process, text):
    """Reads a program's output up to the line that shows that it is ready."""
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return
    raise AssertionError(f"the program ended without {text!r}:\n{seen}")


def test_nats_pub_and_sub(cli):
    subscriber = cli.spawn("sub", "cli.>", "--count=3", "--raw")
    # The command says nothing when it has subscribed with --raw, so messages are sent until it has had enough.
    while subscriber.poll() is None:
        cli("pub", "cli.a", "hello")
    assert subscriber.stdout.read().split() == ["hello"] * 3 and subscriber.returncode == 0


def test_nats_request_and_reply(cli):
    service = cli.spawn("reply", "cli.service", "answer")
    try:
        wait_for_line(service, "Listening on")
        out = cli("request", "cli.service", "question", "--raw")
        assert out.strip() == "answer"
    finally:
        service.kill()
        service.wait()
        service.stdout.close()


def test_nats_rtt(cli):
    assert "127.0.0.1" in cli("rtt", "3")


def test_nats_bench(cli):
    out = cli("bench", "pub", "cli.bench", "--msgs=20000", "--size=128", "--no-progress")
    assert "msgs/sec" in out


@pytest.mark.jetstream
def test_nats_stream_and_consumer(cli):
    cli("stream", "add", "CLI", "--subjects=cli.>", "--defaults", "--max-msgs=1000")
    assert "CLI" in cli("stream", "ls", "--names").split()
    for i in range(5):
        assert "Stored" in cli("pub", "cli.x", f"message {i}", "--jetstream")
    info = json.loads(cli("stream", "info", "CLI", "--json"))
    assert info["config"]["max_msgs"] == 1000 and info["state"]["messages"] == 5
    assert "message 2" in cli("stream", "get", "CLI", "3")
    cli("consumer", "add", "CLI", "C", "--pull", "--ack=explicit", "--deliver=all", "--defaults")
    assert cli("consumer", "ls", "CLI", "--names").split() == ["C"]
    assert "message 0" in cli("consumer", "next", "CLI", "C", "--ack")
    out = cli("consumer", "next", "CLI", "C", "--count=4", "--ack")
    assert all(f"message {i}" in out for i in (1, 2, 3, 4))
    info = json.loads(cli("consumer", "info", "CLI", "C", "--json"))
    assert info["num_pending"] == 0 and info["num_ack_pending"] == 0
    cli("stream", "edit", "CLI", "--max-msgs=2000", "--force")
    cli("stream", "rmm", "CLI", "1", "--force")
    cli("stream", "purge", "CLI", "--force")
    assert json.loads(cli("stream", "info", "CLI", "--json"))["state"]["messages"] == 0
    cli("consumer", "rm", "CLI", "C", "--force")
    cli("stream", "rm", "CLI", "--force")
    assert cli("stream", "ls", "--names").strip() == ""


@pytest.mark.jetstream
def test_nats_account_info(cli):
    out = cli("account", "info")
    assert "JetStream" in out
