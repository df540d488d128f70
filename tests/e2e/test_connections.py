# SPDX-License-Identifier: Apache-2.0
"""What connections cost that have nothing to say, and that they do not stay for ever: plain sockets, many of them."""
import resource
import socket
import time

import pytest

import harness

COUNT = 10_000
FILES = COUNT + 500
HALF_LINES = (b"PUB orders.created 1", b'CONNECT {"verbose":false,"name":"hal', b"SUB orders.", b"PUB orders.created 4000\r\n" + b"x" * 20, b"P")


@pytest.fixture
def many_files():
    """Room for as many sockets in this process and, since it is inherited, in the server."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES:
        pytest.skip(f"{FILES} open files are needed, {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def sockets():
    made = []
    yield made
    for s in made:
        s.close()


def anonymous_bytes(server):
    with open(f"/proc/{server.process.pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Anonymous:")) * 1024


def is_sanitized(server):
    """A sanitizer's own memory would be measured with ours."""
    with open(f"/proc/{server.process.pid}/maps") as f:
        return any("libasan" in line or "libtsan" in line for line in f)


def join(server, sockets, count, text_of):
    for i in range(count):
        s = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        sockets.append(s)
        s.sendall(text_of(i))


def read_all(s):
    """What came until the server closed."""
    got = b""
    while piece := s.recv(65536):
        got += piece
    return got


def server_has_read(server, sockets):
    """Input is read in the order in which it is there: who comes last and gets an answer comes after the others."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as last:
        last.sendall(b'CONNECT {"verbose":false}\r\nPING\r\n')
        lines = last.makefile("rb")
        while lines.readline() != b"PONG\r\n":
            pass
    for s in sockets:
        assert s.recv(4096).startswith(b"INFO {")


@pytest.mark.thebes
def test_ten_thousand_half_lines_cost_little(many_files, sockets, make_server):
    server = make_server()
    if is_sanitized(server):
        pytest.skip("memory is measured without sanitizers")
    before = anonymous_bytes(server)
    join(server, sockets, COUNT, lambda i: HALF_LINES[i % len(HALF_LINES)])
    server_has_read(server, sockets)
    cost = anonymous_bytes(server) - before
    print(f"{COUNT} connections with half a line each: {cost / 1024 / 1024:.1f} MiB, {cost / COUNT:.0f} bytes each")
    assert cost <= 40 * 1024 * 1024
    for s in sockets:
        s.close()
    sockets.clear()
    # A second crowd must find the memory of the first one.
    join(server, sockets, COUNT // 4, lambda i: b"SUB foo")
    server_has_read(server, sockets)
    assert anonymous_bytes(server) - before <= cost + 4 * 1024 * 1024


@pytest.mark.parametrize("config,half,last", [
    ('authorization { user: a, password: b, timeout: 1 }', b'CONNECT {"user":"a","pa', b"-ERR 'Authentication Timeout'\r\n"),
    ('ping_interval: "300ms"\nping_max: 1', b"PUB orders.created 1", b"PING\r\n-ERR 'Stale Connection'\r\n"),
])
def test_half_a_line_does_not_hold_a_place(sockets, make_server, config, half, last):
    server = make_server(config=config)
    began = time.monotonic()
    join(server, sockets, 200, lambda i: half)
    for s in sockets:
        assert read_all(s).split(b"\r\n", 1)[1] == last
    assert time.monotonic() - began < 15
    harness.until(lambda: socket.create_connection(("127.0.0.1", server.port)).close() is None, "a new connection")


def test_one_byte_at_a_time_does_not_lengthen_the_login(sockets, make_server):
    """Who says a letter now and then has no more time than who says nothing."""
    server = make_server(config="authorization { user: a, password: b, timeout: 1 }")
    join(server, sockets, 1, lambda i: b"CONNECT ")
    slow = sockets[0]
    slow.settimeout(0.05)
    got, began = b"", time.monotonic()
    while b"Authentication Timeout" not in got:
        assert time.monotonic() - began < 10
        try:
            got += slow.recv(65536)
        except TimeoutError:
            slow.sendall(b" ")
    assert b"-ERR 'Authentication Timeout'" in got
