# SPDX-License-Identifier: Apache-2.0
"""The command line over TLS, to our server and to Debian's nats-server: what works, and the sentence for everything that does not."""
import socket
import ssl
import threading
from pathlib import Path

import pytest

from cli_run import bad, good, lines, thebes
from harness import ROOT

pytestmark = [pytest.mark.jetstream, pytest.mark.thebes]

CERTS = ROOT / "tests/wire/certs"
NATS_SERVER = Path("/usr/sbin/nats-server")
SERVERS = ["thebes"] + (["nats-server"] if NATS_SERVER.exists() else [])


def pem(name):
    return str(CERTS / f"{name}.pem")


CA = ("--tlscacert", pem("ca"))


def own(name):
    return ("--tlscert", pem(name), "--tlskey", pem(name + "-key"))


@pytest.fixture(params=SERVERS)
def secure(request, make_server):
    """secure(certificate, more): a server with TLS; returns call(word, ..., scheme=, host=): `thebes word …` against it."""

    def start(cert="server", more=""):
        options = {"binary": NATS_SERVER} if request.param == "nats-server" else {}
        server = make_server(config=f"tls {{ cert_file: '{pem(cert)}', key_file: '{pem(cert + '-key')}', {more} }}\n", jetstream=True, **options)

        def call(*words, scheme="tls", host="localhost", **how):
            return thebes(*words, "--server", f"{scheme}://{host}:{server.port}", **how)

        return call

    return start


def test_it_works(secure):
    call = secure()
    good(call("station", "add", "s", *CA))
    assert "3000 stored" in good(call("produce", "s", *CA, input="".join(f"{i}\n" for i in range(3000))))
    assert good(call("consume", "s", *CA)) == "".join(f"{i}\n" for i in range(3000))
    assert good(call("request", "$JS.API.INFO", "", "--raw", *CA)).startswith('{"type"')
    big = "x" * 900_000
    assert "1 stored" in good(call("produce", "s", "--raw", *CA, input=big))
    assert good(call("consume", "s", "--raw", *CA)) == big
    (result,) = lines(call("bench", "station", "--msgs", "2000", "--publishers", "2", "--json", *CA))
    assert result["msgs"] == 2000


def test_the_ways_to_ask_for_it(secure):
    call = secure()
    for scheme in ("tls", "nats", "tcp"):  # the server insists, so we come with it
        for host in ("localhost", "127.0.0.1"):
            good(call("station", "ls", *CA, scheme=scheme, host=host))
    good(call("station", "ls", "--tls", *CA, scheme="nats"))
    for name in ("THEBES_CA", "NATS_CA"):
        good(call("station", "ls", env={name: pem("ca")}))
    good(call("station", "ls", *CA, env={"THEBES_CA": pem("stranger")}))
    good(call("station", "ls", env={"THEBES_CA": pem("ca"), "NATS_CA": pem("stranger")}))


def test_whom_we_do_not_trust(secure):
    call = secure()
    bad(call("station", "ls"), 1, "not trusted", "Thebes test ca", "--tlscacert")
    bad(call("station", "ls", scheme="nats"), 1, "not trusted", "--tlscacert")
    bad(call("station", "ls", "--tlscacert", pem("stranger")), 1, "not trusted", "--tlscacert")
    bad(call("station", "ls", "--tlscacert", "/nowhere/ca.pem"), 1, "--tlscacert", "/nowhere/ca.pem")
    bad(call("station", "ls", "--tlscacert", pem("client-key")), 1, "--tlscacert", "client-key.pem")
    code, out, err = call("station", "ls", "--json")
    assert code == 1 and out == "" and err.startswith('{"error":"') and err.count("\n") == 1


def test_another_host(secure):
    call = secure("elsewhere")
    for host in ("localhost", "127.0.0.1"):
        bad(call("station", "ls", "--tlscacert", pem("elsewhere"), host=host), 1, f"not for {host} but for broker.example, 10.1.2.3", "--server")


def test_an_expired_certificate(secure):
    bad(secure("expired")("station", "ls", "--tlscacert", pem("expired")), 1, "has expired", "Jan  1 00:00:00 2021 GMT", "renewed")


def test_a_certificate_of_our_own(secure):
    call = secure(more=f"ca_file: '{pem('ca')}', verify: true")
    good(call("station", "ls", *CA, *own("client")))
    for cert, key in (("THEBES_CERT", "THEBES_KEY"), ("NATS_CERT", "NATS_KEY")):
        good(call("station", "ls", *CA, env={cert: pem("client"), key: pem("client-key")}))
    bad(call("station", "ls", *CA), 1, "wants a certificate", "--tlscert", "--tlskey")
    bad(call("station", "ls", *CA, *own("stranger")), 1, "does not accept our certificate")
    bad(call("station", "ls", *CA, "--tlscert", pem("client")), 1, "--tlskey is missing")
    bad(call("station", "ls", *CA, "--tlskey", pem("client-key")), 1, "--tlscert is missing")
    bad(call("station", "ls", *CA, "--tlscert", pem("client"), "--tlskey", pem("server-key")), 1, "not the key of")
    bad(call("station", "ls", *CA, "--tlscert", pem("client-key"), "--tlskey", pem("client-key")), 1, "no certificate", "client-key.pem")
    bad(call("station", "ls", *CA, "--tlscert", pem("client"), "--tlskey", "/nowhere"), 1, "--tlskey", "/nowhere")


def test_a_server_without(server):
    """Whoever asks for TLS does not go on without."""
    for words in (("-s", f"tls://127.0.0.1:{server.port}"), ("-s", server.url(), "--tls"), ("-s", server.url(), *CA), ("-s", server.url(), *own("client"))):
        bad(thebes("station", "ls", *words), 1, "speaks no TLS")
    bad(thebes("station", "ls", "-s", server.url(), "--tlsfirst", *CA), 1, "does not begin with TLS", "leave out --tlsfirst")


class Fake:
    """Says INFO to one client after another, in the clear or after the handshake, and answers PING."""

    def __init__(self, first, info, behind=b""):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pem("server"), pem("server-key"))
        self.first, self.hello = first, b"INFO " + info + b" \r\n" + behind
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"nats://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                peer, _ = self.listener.accept()
                if self.first:
                    peer = self.context.wrap_socket(peer, server_side=True)
                peer.sendall(self.hello)
                for line in peer.makefile("rb"):
                    if line == b"PING\r\n":
                        peer.sendall(b"PONG\r\n")
            except OSError:
                if self.listener.fileno() < 0:
                    return


def test_the_handshake_first():
    fake = Fake(True, b'{"max_payload":1000,"tls_required":true}')
    assert "published 1" in good(thebes("pub", "a", "x", "-s", fake.url, "--tlsfirst", *CA))
    bad(thebes("pub", "a", "x", "-s", fake.url, "--timeout", "1s", *CA), 1, "--tlsfirst")
    bad(thebes("pub", "a", "x", "-s", fake.url, "--tlsfirst"), 1, "not trusted")
    fake.listener.close()


def test_nobody_speaks_before_the_handshake():
    """Bytes behind INFO came in the clear: whoever can put them there is not the server."""
    fake = Fake(False, b'{"max_payload":1000,"tls_required":true}', b"PONG\r\n")
    bad(thebes("pub", "a", "x", "-s", fake.url, *CA), 1, "before the TLS handshake")
    fake.listener.close()
