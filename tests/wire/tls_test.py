#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""TLS for clients (spec §1.9): INFO in the clear, then the handshake. The certificates in certs/ are for tests alone.

    THEBES=build/dev/thebes python3 tests/wire/tls_test.py
"""
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest

from run import Connection, Mismatch
from server import Server

BINARY = os.environ.get("THEBES", "build/dev/thebes")
CERTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "certs")


def pem(name):
    return os.path.join(CERTS, name + ".pem")


def config(cert="server", **more):
    keys = {"cert_file": f"'{pem(cert)}'", "key_file": f"'{pem(cert + '-key')}'", **more}
    return "tls {\n" + "".join(f"  {key}: {value}\n" for key, value in keys.items()) + "}\n"


class Secure(Connection):
    """Reads INFO in the clear, then shakes hands."""

    def __init__(self, port, certificate=None, version=None):
        super().__init__(port)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(pem("ca"))
        if certificate:
            context.load_cert_chain(pem(certificate), pem(certificate + "-key"))
        if version:
            context.minimum_version = context.maximum_version = version
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")

    def subject(self):
        return dict(pair for part in self.socket.getpeercert()["subject"] for pair in part)["commonName"]


class TlsTest(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.TemporaryDirectory()
        self.server = None
        self.connections = []

    def tearDown(self):
        for connection in self.connections:
            connection.close()
        if self.server:
            self.assertEqual(self.server.stop(), 0, self.server.log())
        self.tmp.cleanup()

    def start(self, text, flags=()):
        self.server = Server(BINARY, self.tmp.name, text, flags)
        return self.server

    def connect(self, kind=Secure, **how):
        connection = kind(self.server.port, **how)
        self.connections.append(connection)
        return connection

    def talk(self, connection):
        connection.send(b'CONNECT {"verbose":false}\r\nSUB foo 1\r\nPUB foo 5\r\nhello\r\nPING\r\n')
        self.assertEqual([connection.line() for _ in range(3)], ["MSG foo 1 5", "hello", "PONG"])

    def test_a_conversation(self):
        server = self.start(config())
        self.assertTrue(server.ports["nats"][0].startswith("tls://"))
        self.assertIn("TLS required for client connections", server.log())
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            connection = self.connect(version=version)
            self.assertTrue(connection.info["tls_required"])
            self.assertNotIn("tls_verify", connection.info)
            self.assertEqual(connection.subject(), "localhost")
            self.talk(connection)

    def test_by_flags(self):
        self.start("", flags=["--tls", "--tlscert", pem("server"), "--tlskey", pem("server-key")])
        self.talk(self.connect())

    def test_much_in_both_directions(self):
        self.start(config() + "max_payload: 8MB\n")
        a, b = self.connect(), self.connect()
        b.send(b'CONNECT {"verbose":false}\r\nSUB foo 1\r\nPING\r\n')
        self.assertEqual([b.line(), b.line()], ["PONG", "PING"])  # the server's first, not to meet it later
        b.send(b"PONG\r\n")
        sizes = [0, 1, 100, 16384, 16385, 70000, 1000000, 3, 5000000, 12] + [50] * 5000
        bodies = [bytes((i * 7 + size) % 251 for i in range(min(size, 251))) * (size // 251 + 1) for size in sizes]
        out = b'CONNECT {"verbose":false}\r\n' + b"".join(
            b"PUB foo %d\r\n" % size + body[:size] + b"\r\n" for size, body in zip(sizes, bodies))
        sender = threading.Thread(target=a.send, args=(out,))
        sender.start()
        want = b"".join(b"MSG foo 1 %d\r\n" % size + body[:size] + b"\r\n" for size, body in zip(sizes, bodies))
        got = bytearray()
        while len(got) < len(want):
            piece = b.socket.recv(65536)
            self.assertTrue(piece)
            got += piece
        sender.join()
        self.assertTrue(bytes(got) == want)

    def test_the_end_is_said(self):
        self.start(config())
        connection = self.connect()
        connection.send(b"FOO\r\n")
        self.assertEqual(connection.line(), "-ERR 'Unknown Protocol Operation'")
        self.assertEqual(connection.socket.recv(100), b"")  # close_notify: without it this would raise

    def test_the_end_is_said_behind_what_the_peer_was_slow_to_take(self):
        server = self.start(config() + 'lame_duck_duration: "30s"\nlame_duck_grace_period: "10ms"\n')
        slow, fast = self.connect(), self.connect()
        slow.send(b'CONNECT {"verbose":false}\r\nSUB foo 1\r\nPING\r\n')
        self.assertEqual(slow.line(), "PONG")
        count, message = 32, b"PUB foo 262144\r\n" + b"x" * 262144 + b"\r\n"
        fast.send(message * count + b"PING\r\n")
        while fast.line() != "PONG":
            pass
        fast.close()
        server.signal(signal.SIGUSR2)
        server.wait_line("Entering lame duck mode")
        got = 0
        while piece := slow.socket.recv(65536):  # close_notify ends it; a plain end would raise
            got += len(piece)
        self.assertGreaterEqual(got, count * 262144)
        self.assertEqual(server.wait(), 0)

    def test_plain_words_are_no_handshake(self):
        server = self.start(config())
        connection = self.connect(Connection)
        connection.send(b'CONNECT {"verbose":false}\r\nPING\r\n')
        with self.assertRaises(Mismatch):  # an alert perhaps, then the end
            while connection.line() != "EOF":
                pass
            raise Mismatch("EOF")
        server.wait_line("TLS handshake error")

    def test_silence_is_no_handshake(self):
        server = self.start(config(timeout="0.3"))
        connection = self.connect(Connection)
        self.assertEqual(connection.line(), "EOF")
        server.wait_line("TLS handshake timeout")

    def test_half_a_handshake(self):
        server = self.start(config(timeout="0.3"))
        connection = self.connect(Connection)
        connection.send(b"\x16\x03\x01\x02\x00\x01\x00")
        self.assertEqual(connection.line(), "EOF")
        server.wait_line("TLS handshake timeout")

    def test_old_versions(self):
        server = self.start(config(min_version='"1.3"'))
        with self.assertRaises((ssl.SSLError, ConnectionResetError)):
            self.connect(version=ssl.TLSVersion.TLSv1_2)
        server.wait_line("TLS handshake error")
        self.talk(self.connect(version=ssl.TLSVersion.TLSv1_3))

    def test_clients_show_certificates(self):
        server = self.start(config(ca_file=f"'{pem('ca')}'", verify="true"))
        connection = self.connect(certificate="client")
        self.assertTrue(connection.info["tls_verify"])
        self.talk(connection)
        for stranger in ("stranger", None):
            seen = len(server.lines)
            with self.assertRaises((ssl.SSLError, ConnectionResetError, BrokenPipeError, Mismatch)):
                refused = self.connect(certificate=stranger)
                refused.send(b"PING\r\n")
                if refused.line() == "EOF":
                    raise Mismatch("EOF")
            server.wait_line("TLS handshake error", seen)

    def test_login_comes_after_the_handshake(self):
        self.start(config() + "authorization { user: a, password: b, timeout: 0.4 }\n")
        connection = self.connect()
        self.assertTrue(connection.info["auth_required"])
        self.assertEqual(connection.line(), "-ERR 'Authentication Timeout'")
        connection = self.connect()
        connection.send(b'CONNECT {"user":"a","pass":"b"}\r\n')
        self.assertEqual(connection.line(), "+OK")

    def test_plain_clients_beside(self):
        server = self.start(config() + "allow_non_tls: true\n")
        self.assertTrue(server.ports["nats"][0].startswith("nats://"))
        plain, secure = self.connect(Connection), self.connect()
        for connection in (plain, secure):
            self.assertTrue(connection.info["tls_available"])
            self.assertNotIn("tls_required", connection.info)
            self.talk(connection)

    def test_reload_of_the_certificate(self):
        server = self.start(config())
        before = self.connect()
        self.talk(before)
        server.configure(config("server2"))
        seen = len(server.lines)
        server.signal(signal.SIGHUP)
        server.wait_line("Reloaded server configuration", seen)
        self.assertEqual(self.connect().subject(), "localhost again")
        before.send(b"PING\r\n")
        self.assertEqual(before.line(), "PONG")
        server.configure(config("nonexistent"))
        seen = len(server.lines)
        server.signal(signal.SIGHUP)
        server.wait_line(r"Failed to reload server configuration: .*:\d+:\d+: tls\.cert_file: expected .*nonexistent.pem: not found", seen)
        self.assertEqual(self.connect().subject(), "localhost again")

    def file(self, name, text):
        path = os.path.join(self.tmp.name, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def test_certificates_that_cannot_be_used(self):
        with open(pem("server")) as server, open(pem("ca")) as ca:
            chain = server.read() + ca.read()
        cases = {
            config("nonexistent"): r"tls\.cert_file: expected a certificate.*nonexistent.pem: not found",
            f"tls {{ cert_file: '{pem('server')}', key_file: '{pem('client-key')}' }}\n":
                r"tls\.key_file: expected the certificate's private key in PEM.*client-key.pem: error:",
            f"tls {{ cert_file: '{pem('server-key')}', key_file: '{pem('server-key')}' }}\n":
                r"tls\.cert_file: expected a certificate and its chain in PEM.*server-key.pem: error:",
            config(ca_file=f"'{pem('server-key')}'"): r"tls\.ca_file: expected certificates of authorities in PEM.*error:",
            config(ca_file=f"'{self.file('void', '')}'"): r"tls\.ca_file: expected .*void: the file is empty",
            f"tls {{ cert_file: '{self.file('empty', '')}', key_file: '{pem('server-key')}' }}\n":
                r"tls\.cert_file: expected .*empty: the file is empty",
            f"tls {{ cert_file: '{self.file('half', chain[:-200])}', key_file: '{pem('server-key')}' }}\n":
                r"tls\.cert_file: expected .*half: error:",
            config(ca_file=f"'{self.file('halves', chain[:-200])}'"):
                r"tls\.ca_file: expected .*halves: error:",
        }
        for text, wanted in cases.items():
            with self.subTest(wanted):
                server = Server(BINARY, self.tmp.name, text, wait=False)
                self.assertEqual(server.wait(), 1)
                self.assertRegex(server.log(), r":\d+:\d+: " + wanted)
                tested = subprocess.run([BINARY, "server", "-t", "-c", self.file("tested.conf", text)], capture_output=True, text=True)
                self.assertEqual(tested.returncode, 1)
                self.assertRegex(tested.stderr, r"tested\.conf:\d+:\d+: " + wanted)

    def test_a_slow_reader(self):
        self.start(config() + "max_pending: 2MB\n")
        slow, fast = self.connect(), self.connect()
        slow.send(b'CONNECT {"verbose":false}\r\nSUB foo 1\r\nPING\r\n')
        self.assertEqual(slow.line(), "PONG")
        message = b"PUB foo 65536\r\n" + b"x" * 65536 + b"\r\n"
        while "Slow Consumer Detected" not in self.server.log():
            fast.send(message * 16 + b"PING\r\n")
            while fast.line() != "PONG":
                pass

    def test_varz(self):
        server = self.start(config(), flags=["-m", "-1"])
        port = int(server.ports["monitoring"][0].rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
            s.sendall(b"GET /varz HTTP/1.0\r\n\r\n")
            text = b"".join(iter(lambda: s.recv(65536), b""))
        self.assertTrue(json.loads(text.split(b"\r\n\r\n", 1)[1])["tls_required"])


if __name__ == "__main__":
    sys.exit(unittest.main())
