# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the end-to-end tests, and which of them the server under test is asked to pass."""
import os

import nats
import pytest

import harness


def pytest_collection_modifyitems(config, items):
    """Tests that need JetStream run when the server says that it has it; THEBES_E2E_REQUIRE=jetstream makes its absence an error."""
    if not harness.is_thebes():
        drop(config, items, "thebes", "the server under test is a nats-server")
    if not any(item.get_closest_marker("jetstream") for item in items):
        return
    if harness.says_jetstream(harness.BUILD / "e2e-probe"):
        return
    if "jetstream" in os.environ.get("THEBES_E2E_REQUIRE", ""):
        raise pytest.UsageError(f"{harness.binary_under_test()} does not say jetstream:true in its INFO")
    drop(config, items, "jetstream", "the server's INFO does not say jetstream:true")


def drop(config, items, marker, reason):
    dropped = [item for item in items if item.get_closest_marker(marker)]
    if dropped:
        items[:] = [item for item in items if item not in dropped]
        config.hook.pytest_deselected(items=dropped)
        config.stash.setdefault(notes, []).append(f"{len(dropped)} tests marked {marker} not selected: {reason}")


notes = pytest.StashKey[list]()


def pytest_report_collectionfinish(config):
    return [f"binary under test: {harness.binary_under_test()}"] + config.stash.get(notes, [])


@pytest.fixture
def make_server(tmp_path):
    """make_server(*flags, config=None, jetstream=False): servers that end with the test. A sanitizer's report in a log fails the test."""
    made = []

    def make(*flags, **options):
        directory = tmp_path / f"server{len(made)}"
        directory.mkdir(exist_ok=True)
        server = harness.Server(directory, *flags, **options)
        made.append(server)
        return server.start()

    yield make
    for server in made:
        server.end()
    for server in made:
        assert "runtime error:" not in server.log_text() and "ERROR: AddressSanitizer" not in server.log_text(), server.log_text()[-5000:]


@pytest.fixture
def server(make_server, request):
    """One server with the defaults; with JetStream when the test is marked so."""
    return make_server(jetstream=request.node.get_closest_marker("jetstream") is not None)


@pytest.fixture
async def connect():
    """connect(server, **options): nats-py connections that end with the test."""
    made = []

    async def make(server, **options):
        options.setdefault("allow_reconnect", False)
        options.setdefault("connect_timeout", 5)
        client = await nats.connect(options.pop("url", server.url()), **options)
        made.append(client)
        return client

    yield make
    for client in made:
        if not client.is_closed:
            await client.close()


@pytest.fixture
async def nc(server, connect):
    return await connect(server)
