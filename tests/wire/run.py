#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs transcripts of the client protocol against a server and says where it answers otherwise.

    run.py --server build/dev/thebes tests/wire/transcripts/*.txt              our server
    run.py --server /usr/sbin/nats-server tests/wire/transcripts/*.txt         the one that we are compatible with: the same files

A file holds transcripts, each begun by a line "== title". Lines of a transcript:

    # text            a comment
    config: text      a line of the server's configuration (all transcripts with the same lines share one process)
    only: name        thebes or nats-server: the other one differs on purpose; the reason follows the name
    C: text           the client sends the line and CRLF              C2: the second connection, and so on; opened when first named
    C+: text          the client sends the text with \\r \\n \\t \\xHH \\\\ read as escapes, and *N repeating the character before it N times
    S: text           the server must answer this line                S2: on the second connection
    S~: regex         the same, for a whole line that matches
    S: EOF            the server must close; nothing may come before
    I: key=json       what the INFO of the connection must say (json "-": the key must be absent)
    X: EOF            the client closes the connection

INFO is read when a connection opens. At the end nothing may be left that the transcript has not read: a PING is sent on every open
connection, and its PONG must be the next line. Every answer has five seconds.
"""
import argparse
import json
import os
import re
import socket
import sys
import tempfile
import time

from server import Server

ANSWER_SECONDS = 5


class Mismatch(Exception):
    pass


def unescape(text):
    out = bytearray()
    at = 0
    while at < len(text):
        if text[at] == "\\" and at + 1 < len(text):
            kind = text[at + 1]
            if kind == "x":
                out.append(int(text[at + 2:at + 4], 16))
                at += 4
                continue
            out += {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\", "*": b"*"}[kind]
            at += 2
            continue
        repeat = re.match(r"\*(\d+)", text[at:])
        if repeat and out:
            out += bytes([out[-1]]) * (int(repeat.group(1)) - 1)
            at += repeat.end()
            continue
        out += text[at].encode()
        at += 1
    return bytes(out)


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
        self.pending = b""
        self.ended = False
        line = self.line()
        if not line.startswith("INFO {") or not line.endswith("} "):
            raise Mismatch(f"the first line is not an INFO with a blank at its end: {line!r}")
        self.info = json.loads(line[5:])

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # what the server says of it is read later

    def line(self):
        """The next line without CRLF, or "EOF"."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while b"\n" not in self.pending:
            if self.ended:
                if self.pending:
                    raise Mismatch(f"the connection ended inside {self.pending!r}")
                return "EOF"
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                got = self.socket.recv(65536)
            except socket.timeout:
                raise Mismatch(f"no answer within {ANSWER_SECONDS} s (so far {self.pending!r})")
            except ConnectionResetError:
                got = b""
            self.ended = not got
            self.pending += got
        line, self.pending = self.pending.split(b"\n", 1)
        if not line.endswith(b"\r"):
            raise Mismatch(f"a line without CR: {line!r}")
        return line[:-1].decode("utf-8", "replace")

    def close(self):
        self.socket.close()


def read_transcripts(path):
    transcripts = []
    with open(path) as f:
        for number, line in enumerate(f, 1):
            line = line.rstrip("\n")
            if line.startswith("== "):
                transcripts.append({"title": line[3:], "at": f"{path}:{number}", "config": [], "only": None, "steps": []})
            elif not line.strip() or line.startswith("#"):
                continue
            elif line.startswith("config:"):
                transcripts[-1]["config"].append(line[7:].strip())
            elif line.startswith("only:"):
                transcripts[-1]["only"] = line[5:].split()[0]
            else:
                step = re.match(r"([CSIX])(\d*)([+~]?): ?(.*)$", line)
                if not step:
                    raise SystemExit(f"{path}:{number}: not a line of a transcript: {line}")
                kind, which, mode, text = step.groups()
                transcripts[-1]["steps"].append((number, kind, int(which or 1), mode, text))
    return transcripts


def check_info(connection, text):
    key, wanted = text.split("=", 1)
    if wanted == "-":
        if key in connection.info:
            raise Mismatch(f"INFO says {key}={json.dumps(connection.info[key])}, but should not")
    elif connection.info.get(key) != json.loads(wanted):
        raise Mismatch(f"INFO says {key}={json.dumps(connection.info.get(key))}, wanted {wanted}")


def run_step(open_connections, port, step):
    _, kind, which, mode, text = step
    if which not in open_connections:
        open_connections[which] = Connection(port)
    connection = open_connections[which]
    if kind == "C":
        connection.send(unescape(text) if mode == "+" else text.encode() + b"\r\n")
    elif kind == "I":
        check_info(connection, text)
    elif kind == "X":
        connection.close()
        connection.ended = True
    else:
        line = connection.line()
        if mode == "~" and not re.fullmatch(text, line) or mode != "~" and line != text:
            raise Mismatch(f"wanted {text!r}, got {line!r}")


def run_transcript(port, transcript):
    open_connections = {}
    step = (0,)
    try:
        for step in transcript["steps"]:
            run_step(open_connections, port, step)
        for which, connection in open_connections.items():
            if connection.ended:
                continue
            step = (f"end, connection {which}",)
            connection.send(b"PING\r\n")
            line = connection.line()
            if line != "PONG":
                raise Mismatch(f"nothing more was expected, got {line!r}")
        return None
    except (Mismatch, OSError) as e:
        return f"line {step[0]}: {e}"
    finally:
        for connection in open_connections.values():
            connection.close()


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--server", required=True)
    options.add_argument("--only", help="transcripts whose title holds this text")
    options.add_argument("files", nargs="+")
    options = options.parse_args()
    binary = os.path.realpath(options.server)
    name = "nats-server" if os.path.basename(binary) == "nats-server" else "thebes"
    by_config = {}
    for path in options.files:
        for transcript in read_transcripts(path):
            if transcript["only"] not in (None, name) or options.only and options.only not in transcript["title"]:
                continue
            by_config.setdefault(tuple(transcript["config"]), []).append(transcript)
    passed, failed = 0, 0
    with tempfile.TemporaryDirectory() as directory:
        for config, transcripts in by_config.items():
            server = Server(binary, directory, config)
            for transcript in transcripts:
                wrong = run_transcript(server.port, transcript)
                passed, failed = passed + (not wrong), failed + bool(wrong)
                if wrong:
                    print(f"FAILED {transcript['at']} {transcript['title']}: {wrong}")
            code = server.stop()
            if code != 0:
                failed += 1
                print(f"FAILED the server of {transcripts[0]['at']} ended with {code}:\n{server.log()}")
    print(f"{name}: {passed} transcripts passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
