#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The server as a process: command line, files, log lines, signals, exit codes, monitoring (spec §3.4-3.7, §4).

    THEBES=build/dev/thebes python3 tests/wire/process_test.py
"""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

from run import Connection
from server import Server, wait_for_file

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.environ.get("THEBES", "build/dev/thebes")
SECONDS = 10


def http(port, data, count=1):
    """Sends bytes, returns `count` answers as (status, headers, body), and whether the connection was closed after them."""
    answers = []
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as s:
        s.sendall(data)
        f = s.makefile("rb")
        for _ in range(count):
            status = f.readline()
            if not status:
                break
            headers = {}
            for line in iter(f.readline, b"\r\n"):
                key, value = line.decode().rstrip("\r\n").split(": ", 1)
                headers[key] = value
            body = b"" if data.startswith(b"HEAD") else f.read(int(headers["Content-Length"]))
            answers.append((int(status.split()[1]), headers, body))
        closed = headers.get("Connection") == "close" and f.read(1) == b""
    return answers, closed


def get(port, path):
    ((status, headers, body),), _ = http(port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return status, headers, body


class ProcessTest(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.TemporaryDirectory()
        self.servers = []
        self.connections = []

    def tearDown(self):
        for connection in self.connections:
            connection.close()
        for server in self.servers:
            server.stop()
        self.tmp.cleanup()

    def start(self, config=None, flags=(), wait=True):
        server = Server(BINARY, self.tmp.name, config, flags, wait)
        self.servers.append(server)
        return server

    def connect(self, server, line=None):
        connection = Connection(server.port)
        self.connections.append(connection)
        if line:
            connection.send(line.encode() + b"\r\nPING\r\n")
            self.assertEqual(connection.line(), "PONG")
        return connection

    def run_server(self, *arguments):
        name = os.path.join(self.tmp.name, "nats-server")
        if not os.path.exists(name):
            os.symlink(os.path.realpath(BINARY), name)
        done = subprocess.run([name, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False)
        return done.returncode, done.stdout, done.stderr

    # ---- command line ----

    def test_version(self):
        code, out, _ = self.run_server("-v")
        self.assertEqual(code, 0)
        self.assertRegex(out, r"^nats-server: v2\.9\.\d+\n$")

    def test_unknown_word(self):
        code, _, err = self.run_server("foo")
        self.assertEqual((code, err), (1, 'nats-server: unrecognized command: "foo"\n'))

    def test_thebes_itself(self):
        done = subprocess.run([BINARY, "version"], capture_output=True, text=True, timeout=SECONDS, check=False)
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"^thebes: v\S+ \(NATS v2\.9\.\d+\)\n$")
        self.assertNotEqual(subprocess.run([BINARY], capture_output=True, timeout=SECONDS, check=False).returncode, 0)

    def test_config_is_tested(self):
        good = os.path.join(self.tmp.name, "good.conf")
        bad = os.path.join(self.tmp.name, "bad.conf")
        with open(good, "w") as f:
            f.write("port: 4222\n")
        with open(bad, "w") as f:
            f.write("port: 4222\nfoo: 1\n")
        code, _, err = self.run_server("-t", "-c", good)
        self.assertEqual(code, 0)
        self.assertRegex(err, r"^nats-server: configuration file \S+ is valid \(sha256:[0-9a-f]{64}\)\n$")
        for arguments in (("-t", "-c", bad), ("-c", bad)):
            code, _, err = self.run_server(*arguments)
            self.assertEqual(code, 1)
            self.assertIn('bad.conf:2:1: unknown field "foo"', err)

    def test_config_with_warnings_is_tested_and_fails(self):
        path = os.path.join(self.tmp.name, "warns.conf")
        with open(path, "w") as f:
            f.write("ping_interval: 120\n")
        code, _, err = self.run_server("-t", "-c", path)
        self.assertEqual(code, 1)
        self.assertIn("warns.conf:1:1: ping_interval: ", err)
        server = self.start("ping_interval: 120\n")  # starts all the same, and says it
        self.assertRegex(server.log(), r"\[WRN\] .*ping_interval")

    def test_a_large_max_payload_is_a_line_in_the_log(self):
        path = os.path.join(self.tmp.name, "large.conf")
        with open(path, "w") as f:
            f.write("max_payload: 9mb\n")
        self.assertEqual(self.run_server("-t", "-c", path)[0], 0)
        server = self.start("max_payload: 9mb\n")
        self.assertRegex(server.log(), r"\[WRN\] Maximum payloads over")

    def test_flags_that_are_not_known(self):
        for flag, said in (("-x", "flag provided but not defined: -x"), ("--nope=1", "flag provided but not defined: -nope"),
                           ("-p", "flag needs an argument: -p"), ("-p=x", 'invalid value "x" for flag -p')):
            with self.subTest(flag):
                code, out, err = self.run_server(flag)
                self.assertEqual(code, 0)  # as nats-server ends
                self.assertIn(said, err)
                self.assertIn("Usage: nats-server [options]", out)
        for flag in ("-h", "help", "--help"):
            code, out, err = self.run_server(flag)
            self.assertEqual((code, err), (0, ""))
            self.assertIn("Usage: nats-server [options]", out)

    def test_flags_go_before_the_file(self):
        server = self.start("max_payload: 1000\ndebug: false\nserver_name: file\n", flags=["-n", "flag", "-D"])
        self.assertEqual(self.connect(server).info["server_name"], "flag")
        server.wait_line(r"\[DBG\]")  # what is written behind INFO

    # ---- signals by the command line ----

    def test_signal(self):
        pid_file = os.path.join(self.tmp.name, "pid")
        log = os.path.join(self.tmp.name, "log")
        server = self.start("max_payload: 1000\n", flags=["-P", pid_file, "-l", log], wait=False)
        wait_for_file(server.dir, ".ports")
        pid = str(server.process.pid)
        server.configure("max_payload: 2000\n")
        os.rename(log, log + ".old")
        for command in ("reopen=" + pid, "reload=" + pid_file, "quit=" + pid_file):
            self.assertEqual(self.run_server("--signal", command), (0, "", ""))
        self.assertEqual(server.wait(), 0)
        text = ""
        for path in (log + ".old", log):
            with open(path) as f:
                text += f.read()
        self.assertIn("Server Exiting..", text)
        for command, code in (("term", 0), ("ldm", 0), ("stop", -signal.SIGKILL)):
            server = self.start()
            self.assertEqual(self.run_server(f"-sl={command}={server.process.pid}"), (0, "", ""))
            self.assertEqual(server.wait(), code)

    def test_signal_to_nobody(self):
        server = self.start()
        self.assertEqual(server.stop(), 0)
        for command in ("foo", f"quit={server.process.pid}", "quit=/nonexistent", "quit=abc", f"quit={server.process.pid}*"):
            with self.subTest(command):
                code, _, err = self.run_server("--signal", command)
                self.assertEqual(code, 1)
                self.assertTrue(err.startswith("nats-server: "))

    # ---- beginning ----

    def test_lines_that_harnesses_read(self):
        server = self.start(flags=["-m", "-1", "-n", "alpha"])
        log = server.log()
        for pattern in (
            r"^\[\d+\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} \[INF\] Starting nats-server$",
            r"\[INF\]   Version:  2\.9\.\d+$",
            r"\[INF\]   Name:     alpha$",
            r"\[INF\]   ID:       N[A-Z2-7]{55}$",
            r"\[INF\] Starting http monitor on 127\.0\.0\.1:\d+$",
            rf"\[INF\] Listening for client connections on 127\.0\.0\.1:{server.port}$",
            r"\[INF\] Server is ready$",
        ):
            self.assertRegex(log, re.compile(pattern, re.MULTILINE))
        self.assertLess(log.index("Listening for client"), log.index("Server is ready"))

    def test_plain_passwords_are_warned_of(self):
        hashed = "$2a$04$ECtW5Qm4Ro9Lq3cP0r9nC.JYqJmJdH0sI9r0x1d7KfXGxkWbL2X3a"
        cases = (
            ("", ["--user", "a", "--pass", "b"], True),
            ("", ["--user", "a", "--pass", hashed], False),
            ("", ["--auth", "token"], False),
            ("authorization { user: a, password: b }", [], True),
            (f"authorization {{ user: a, password: '{hashed}' }}", [], False),
            ("authorization { user: a }", [], False),
            ("authorization { token: b }", [], False),
            (f"authorization {{ users: [ {{ user: a, password: '{hashed}' }} ] }}", [], False),
            (f"authorization {{ users: [ {{ user: a, password: '{hashed}' }}, {{ user: b, password: c }} ] }}", [], True),
            ("authorization { users: [ { user: a } ] }", [], True),
            ("accounts { A { users: [ { user: a, password: b } ] } }", [], True),
            ("accounts { $SYS { users: [ { user: a, password: b } ] } }", [], True),
            (f"accounts {{ A {{ users: [ {{ user: a, password: '{hashed}' }} ] }} }}", [], False),
        )
        for config, flags, is_warned in cases:
            with self.subTest(config=config, flags=flags):
                server = self.start(config + "\n", flags=flags)
                warnings = [n for n, line in enumerate(server.lines) if line.endswith("[WRN] Plaintext passwords detected, use nkeys or bcrypt")]
                self.assertEqual(len(warnings), is_warned)
                for n in warnings:
                    self.assertRegex(server.lines[n - 1], r"\[INF\]   ID: ")
                    self.assertIn("Using configuration file: ", server.lines[n + 1])
                server.stop()

    def test_files(self):
        pid_file = os.path.join(self.tmp.name, "pid")
        server = self.start(flags=["-P", pid_file])
        with open(pid_file) as f:
            self.assertEqual(f.read(), str(server.process.pid))
        ports = [name for name in os.listdir(server.dir) if name.endswith(".ports")]
        self.assertEqual(ports, [f"nats-server_{server.process.pid}.ports"])
        self.assertEqual(server.stop(), 0)
        self.assertEqual([name for name in os.listdir(server.dir) if name.endswith(".ports")], [])

    def test_ids_and_addresses_in_info(self):
        server = self.start('client_advertise: "example.com:1234"\n')
        first, second = self.connect(server), self.connect(server)
        self.assertEqual([first.info["client_id"], second.info["client_id"]], [1, 2])
        self.assertEqual((first.info["host"], first.info["port"]), ("example.com", 1234))
        self.assertRegex(first.info["server_id"], r"^N[A-Z2-7]{55}$")
        self.assertEqual(first.info["server_name"], first.info["server_id"])
        for key in ("version", "go", "proto", "max_payload", "headers"):
            self.assertIn(key, first.info)

    def test_port_in_use(self):
        first = self.start()
        second = self.start(flags=["-p", str(first.port)], wait=False)
        self.assertEqual(second.wait(), 1)
        self.assertRegex(second.log(), rf"\[FTL\] Error listening on port: 127\.0\.0\.1:{first.port}, \"listen tcp .*in use")

    def test_config_file_that_is_not_there(self):
        code, _, err = self.run_server("-c", "/nonexistent/x.conf")
        self.assertEqual(code, 1)
        self.assertIn("/nonexistent/x.conf", err)
        self.assertNotIn("Parse error", err)

    def test_config_file_that_is_no_configuration(self):
        path = os.path.join(self.tmp.name, "x.conf")
        for text, is_syntax in (('{\n"port": : "x"\n}\n', True), ("port: [1", True), ('max_payload: "x"\n', False)):
            with self.subTest(text):
                with open(path, "w") as f:
                    f.write(text)
                code, _, err = self.run_server("-c", path)
                self.assertEqual(code, 1)
                self.assertEqual(err.startswith("nats-server: Parse error"), is_syntax, err)

    def test_file_where_the_store_should_be(self):
        path = os.path.join(self.tmp.name, "x")
        open(path, "w").close()
        server = self.start(flags=["-js", "-sd", path], wait=False)
        self.assertEqual(server.wait(), 1)
        self.assertRegex(server.log(), r"\[FTL\] Can't start JetStream: (could not create storage directory|storage directory is not a directory)")

    # ---- the end ----

    def test_interrupt_ends_connections(self):
        server = self.start()
        connection = self.connect(server, 'CONNECT {"verbose":false}')
        server.signal(signal.SIGINT)
        self.assertEqual(connection.line(), "EOF")
        self.assertEqual(server.wait(), 0)
        self.assertIn("Initiating Shutdown...", server.log())
        self.assertIn("Server Exiting..", server.log())

    def test_terminate(self):
        server = self.start()
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0)

    def test_connection_that_does_not_read_does_not_hold_up_the_end(self):
        server = self.start()
        reader = self.connect(server, 'CONNECT {"verbose":false}\r\nSUB foo 1')
        writer = self.connect(server, 'CONNECT {"verbose":false}')
        writer.send((b"PUB foo 100000\r\n" + b"x" * 100000 + b"\r\n") * 200 + b"PING\r\n")
        self.assertEqual(writer.line(), "PONG")
        server.signal(signal.SIGINT)
        self.assertEqual(server.wait(), 0)
        reader.close()

    def test_lame_duck(self):
        server = self.start('lame_duck_duration: "30s"\nlame_duck_grace_period: "50ms"\n')
        told = self.connect(server, 'CONNECT {"verbose":false,"protocol":1}')
        old = self.connect(server, 'CONNECT {"verbose":false}')
        server.signal(signal.SIGUSR2)
        server.wait_line("Entering lame duck mode, stop accepting new clients")
        info = told.line()
        self.assertTrue(json.loads(info[5:])["ldm"])
        with self.assertRaises(OSError):
            socket.create_connection(("127.0.0.1", server.port), timeout=1)
        self.assertEqual(told.line(), "EOF")
        self.assertEqual(old.line(), "EOF")
        self.assertEqual(server.wait(), 0)

    def test_lame_duck_is_not_hurried_by_terminate(self):
        server = self.start('lame_duck_duration: "60s"\nlame_duck_grace_period: "40s"\n')
        connection = self.connect(server, 'CONNECT {"verbose":false}')
        server.signal(signal.SIGUSR2)
        server.wait_line("Entering lame duck mode")
        server.signal(signal.SIGTERM)
        connection.send(b"PING\r\n")
        self.assertEqual(connection.line(), "PONG")
        server.signal(signal.SIGINT)
        self.assertEqual(connection.line(), "EOF")
        self.assertEqual(server.wait(), 0)

    def test_lame_duck_without_clients(self):
        server = self.start()
        server.signal(signal.SIGUSR2)
        self.assertEqual(server.wait(), 0)

    def test_lame_duck_ends_with_its_last_client(self):
        server = self.start('lame_duck_duration: "60s"\nlame_duck_grace_period: "40s"\n')
        connection = self.connect(server, 'CONNECT {"verbose":false}')
        server.signal(signal.SIGUSR2)
        server.wait_line("Entering lame duck mode")
        connection.close()
        self.assertEqual(server.wait(), 0)

    # ---- reload ----

    def reload(self, server, config, line="Reloaded server configuration"):
        server.configure(config)
        seen = len(server.lines)
        server.signal(signal.SIGHUP)
        server.wait_line(line, seen)

    def test_reload_sends_away_who_is_no_longer_welcome(self):
        users = 'authorization {{ users = [ {{ user: a, password: {} }}, {{ user: b, password: b }} ] }}\n'
        server = self.start(users.format("one"))
        a = self.connect(server, 'CONNECT {"verbose":false,"user":"a","pass":"one"}')
        b = self.connect(server, 'CONNECT {"verbose":false,"user":"b","pass":"b"}')
        self.reload(server, users.format("two"))
        self.assertEqual(a.line(), "-ERR 'Authorization Violation'")
        self.assertEqual(a.line(), "EOF")
        b.send(b"PING\r\n")
        self.assertEqual(b.line(), "PONG")
        self.connect(server, 'CONNECT {"verbose":false,"user":"a","pass":"two"}')

    def test_reload_takes_subscriptions_away(self):
        users = 'authorization {{ users = [ {{ user: a, password: a, permissions: {{ subscribe: [{}] }} }} ] }}\n'
        server = self.start(users.format('"x", "y"'))
        a = self.connect(server, 'CONNECT {"verbose":false,"user":"a","pass":"a"}\r\nSUB x q 1\r\nSUB y 2')
        a.send(b"SUB z 3\r\n")
        self.assertEqual(a.line(), "-ERR 'Permissions Violation for Subscription to \"z\"'")
        server.wait_line(r'Subscription Violation - User "a", Subject "z", SID 3$')
        seen = len(server.lines)
        self.reload(server, users.format('"y"'))
        self.assertEqual(a.line(), "-ERR 'Permissions Violation for Subscription to \"x\" (sid \"1\")'")
        server.wait_line(r'Removed sub "x" \(sid "1"\) for User "a" - not authorized$', seen)
        a.send(b"PUB x 1\r\n1\r\nPUB y 1\r\n2\r\n")
        self.assertEqual([a.line(), a.line()], ["MSG y 2 1", "2"])

    def test_reload_tells_a_new_max_payload(self):
        server = self.start("max_payload: 1000\n")
        a = self.connect(server, 'CONNECT {"verbose":false,"protocol":1}')
        self.reload(server, "max_payload: 2000\n")
        self.assertEqual(json.loads(a.line()[5:])["max_payload"], 2000)
        a.send(b"PUB x 1500\r\n" + b"x" * 1500 + b"\r\nPING\r\n")
        self.assertEqual(a.line(), "PONG")

    def test_reload_of_what_cannot_change(self):
        server = self.start("max_payload: 1000\nhttp: '127.0.0.1:-1'\n")
        self.reload(server, "max_payload: 2000\nhttp: '127.0.0.1:1'\n",
                    "Failed to reload server configuration: config reload not supported for http: it changes at the next start")
        a = self.connect(server)
        self.assertEqual(a.info["max_payload"], 1000)

    def test_reload_says_each_error_in_a_line(self):
        server = self.start("max_payload: 1000\n")
        self.reload(server, "max_payload: yes\nmax_pending: no\n", "Failed to reload server configuration: .*max_payload")
        server.wait_line(r"Failed to reload server configuration: \S+:2:1: max_pending: expected a size [^\\]*$")

    def test_reload_of_a_broken_file(self):
        server = self.start("max_payload: 1000\n")
        self.reload(server, "max_payload: {\n", "Failed to reload server configuration: .*server.conf:")
        self.connect(server, 'CONNECT {"verbose":false}')

    # ---- log files ----

    def test_log_file_is_opened_again(self):
        path = os.path.join(self.tmp.name, "log")
        server = self.start(flags=["-l", path], wait=False)
        wait_for_file(server.dir, ".ports")
        os.rename(path, path + ".old")
        server.signal(signal.SIGUSR1)
        server.signal(signal.SIGINT)
        self.assertEqual(server.wait(), 0)
        with open(path) as f:
            self.assertIn("Server Exiting..", f.read())
        with open(path + ".old") as f:
            self.assertIn("Server is ready", f.read())

    def test_log_file_is_rotated(self):
        path = os.path.join(self.tmp.name, "log")
        server = self.start(f"log_file: '{path}'\nlog_size_limit: 2000\nlog_max_num: 3\ndebug: true\n", wait=False)
        ports = wait_for_file(server.dir, ".ports")
        with open(os.path.join(server.dir, ports)) as f:
            server.port = int(json.load(f)["nats"][0].rsplit(":", 1)[1])
        for _ in range(60):
            self.connect(server, 'CONNECT {"verbose":false}').close()
        self.assertEqual(server.stop(), 0)
        backups = [name for name in os.listdir(self.tmp.name) if name.startswith("log.")]
        self.assertGreaterEqual(len(backups), 2)
        self.assertLessEqual(len(backups), 3)
        for name in backups:
            self.assertRegex(name, r"^log\.\d{4}(\.\d\d){5}\.\d{9}$")

    def test_log_limits_are_reloaded(self):
        logs = os.path.join(self.tmp.name, "logs")  # nothing else is there, such as the server's directory, whose name may end in a digit
        os.mkdir(logs)
        path = os.path.join(logs, "log")
        server = self.start(f"log_file: '{path}'\nlog_size_limit: -1\n", wait=False)
        ports = wait_for_file(server.dir, ".ports")
        with open(os.path.join(server.dir, ports)) as f:
            server.port = int(json.load(f)["nats"][0].rsplit(":", 1)[1])
        server.configure(f"log_file: '{path}'\nlog_size_limit: 200\nlog_max_num: 2\ndebug: true\n")
        server.signal(signal.SIGHUP)
        backup = wait_for_file(logs, tuple("0123456789"))  # "log.<time>": what was said of the reload is too long
        self.assertTrue(backup.startswith("log."))
        for _ in range(30):
            self.connect(server, 'CONNECT {"verbose":false}').close()
        self.assertEqual(server.stop(), 0)
        self.assertEqual(len([name for name in os.listdir(logs) if name.startswith("log.")]), 2)

    @unittest.skipIf(os.path.lexists("/dev/log") or not os.access("/dev", os.W_OK), "/dev/log is somebody else's")
    def test_syslog(self):
        log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        log.bind("/dev/log")
        try:
            log.settimeout(SECONDS)
            server = self.start("syslog: true\n", wait=False)
            lines = []
            while not lines or "Server is ready" not in lines[-1]:
                lines.append(log.recv(65536).decode())
            self.assertRegex(lines[-1], rf"^<29>.*nats-server\[{server.process.pid}\]: Server is ready")  # daemon, notice
            self.assertEqual(server.stop(), 0)
            self.assertEqual(server.log(), "")
        finally:
            log.close()
            os.unlink("/dev/log")

    def test_trace(self):
        server = self.start("trace: true\nmax_traced_msg_len: 30\ntrace_headers: true\n")
        a = self.connect(server, 'CONNECT {"verbose":false,"headers":true,"user":"me","pass":"hidden","auth_token":"buried"}')
        a.send(b'SUB foo q 1\r\nPUB foo r 4\r\n"\r\n\x01\r\nHPUB foo 18 23\r\nNATS/1.0\r\nA: b\r\n\r\nhello\r\n'
               b"PUB foo 31\r\n" + b"x" * 31 + b"\r\nPUB foo\r\n")
        while a.line() != "EOF":
            pass
        self.assertEqual(server.stop(), 0)
        log = server.log()
        for line in ('<<- [SUB foo q 1]', '<<- [PUB foo r 4]', r'<<- MSG_PAYLOAD: ["\"\r\n\x01"]', '->> [MSG foo 1 r 4]',
                     '<<- [HPUB foo 18 23]', r'<<- MSG_PAYLOAD: ["NATS/1.0\r\nA: b\r\n\r\n"]', '->> [HMSG foo 1 18 23]',
                     '<<- MSG_PAYLOAD: ["' + "x" * 30 + '..."]', 'Protocol Violation: "PUB foo'):
            self.assertIn(line, log)
        for unwanted in ("hidden", "buried", "[DBG]"):
            self.assertNotIn(unwanted, log)

    # ---- limits ----

    def test_slow_consumer_is_closed(self):
        server = self.start('max_pending: 1MB\nmax_payload: 1MB\n')
        slow = self.connect(server, 'CONNECT {"verbose":false}\r\nSUB foo 1')
        fast = self.connect(server, 'CONNECT {"verbose":false}')
        message = b"PUB foo 65536\r\n" + b"x" * 65536 + b"\r\n"
        while "Slow Consumer Detected: MaxPending of 1048576 Exceeded" not in server.log():
            fast.send(message * 16 + b"PING\r\n")
            self.assertEqual(fast.line(), "PONG")
        while True:
            if not slow.socket.recv(1 << 20):
                break

    # ---- monitoring ----

    def start_http(self, config=None):
        server = self.start(config, flags=["-m", "-1"])
        return server, int(server.ports["monitoring"][0].rsplit(":", 1)[1])

    def test_pages(self):
        server, port = self.start_http()
        status, headers, body = get(port, "/healthz")
        self.assertEqual((status, body), (200, b'{"status":"ok"}'))
        self.assertEqual(headers["Content-Type"], "application/json")
        self.assertEqual(headers["Access-Control-Allow-Origin"], "*")
        a = self.connect(server, 'CONNECT {"verbose":false}\r\nSUB foo 1')
        a.send(b"PUB foo 5\r\nhello\r\n")
        self.assertEqual([a.line(), a.line()], ["MSG foo 1 5", "hello"])
        varz = json.loads(get(port, "/varz?x=y")[2])
        wanted = {"in_msgs": 1, "in_bytes": 5, "out_msgs": 1, "out_bytes": 5, "connections": 1, "total_connections": 1,
                  "subscriptions": 1, "port": server.port, "max_payload": 1048576, "proto": 1}
        self.assertEqual({key: varz[key] for key in wanted}, wanted)
        self.assertGreater(varz["mem"], 0)
        self.assertEqual(get(port, "/nope")[0], 404)
        self.assertEqual(get(port, "/varz/")[0], 404)
        self.assertEqual(get(port, "/")[0], 200)
        a.close()

    def test_varz_of_jetstream(self):
        server, port = self.start_http("jetstream { store_dir: js, max_mem: 1g, max_file: 2g }\n")
        a = self.connect(server, 'CONNECT {"verbose":false}\r\nSUB r 1')
        config = b'{"name":"S","subjects":["s"],"storage":"memory","max_bytes":1000}'
        a.send(b"PUB $JS.API.STREAM.CREATE.S r %d\r\n%s\r\n" % (len(config), config))
        self.assertTrue(a.line().startswith("MSG r 1 "))
        self.assertIn('"did_create":true', a.line())
        a.send(b"PUB s r 1\r\nx\r\n")
        self.assertEqual([a.line()[:8], json.loads(a.line())], ["MSG r 1 ", {"stream": "S", "seq": 1}])
        js = json.loads(get(port, "/varz")[2])["jetstream"]
        self.assertEqual((js["config"]["max_memory"], js["config"]["max_storage"]), (10 ** 9, 2 * 10 ** 9))
        self.assertTrue(js["config"]["store_dir"].endswith("js/jetstream"))
        self.assertGreater(js["stats"].pop("memory"), 0)
        self.assertEqual(js["stats"], {"storage": 0, "reserved_memory": 1000, "reserved_storage": 0, "accounts": 1, "ha_assets": 0,
                                       "api": {"total": 1, "errors": 0}})

    def test_varz_of_our_own(self):
        server, port = self.start_http("jetstream { store_dir: js }\n")
        a = self.connect(server, 'CONNECT {"verbose":false,"headers":true}\r\nSUB r 1')
        own = json.loads(get(port, "/varz")[2])["thebes"]
        self.assertEqual(list(own), ["version", "now", "counters", "histograms"])
        self.assertEqual(own["counters"]["log_rounds_failed"], 0)
        before = own["histograms"]["log_commit"]["count"]
        config = b'{"name":"S","subjects":["s"]}'
        a.send(b"PUB $JS.API.STREAM.CREATE.S r %d\r\n%s\r\n" % (len(config), config))
        self.assertTrue(a.line().startswith("MSG r 1 "))
        self.assertIn('"did_create":true', a.line())
        for head in (b"Nats-Msg-Id: a", b"Nats-Msg-Id: a", b"Nats-Expected-Last-Sequence: 7"):
            block = b"NATS/1.0\r\n" + head + b"\r\n\r\n"
            a.send(b"HPUB s r %d %d\r\n%sx\r\n" % (len(block), len(block) + 1, block))
            self.assertTrue(a.line().startswith("MSG r 1 "))
            a.line()
        varz = json.loads(get(port, "/varz")[2])
        counters, commit = varz["thebes"]["counters"], varz["thebes"]["histograms"]["log_commit"]
        self.assertEqual([counters["publishes_" + k] for k in ("duplicate", "rejected", "refused")], [1, 1, 0])
        self.assertGreater(counters["log_blocks"], own["counters"]["log_blocks"])
        self.assertGreater(commit["count"], before)
        self.assertTrue(0 < commit["p50"] <= commit["p99"] <= commit["max"], commit)
        self.assertEqual(commit["unit"], "ns")
        now = varz["thebes"]["now"]
        self.assertEqual((now["stations"], now["stations_in_doubt"]), (1, 0))
        self.assertLess(now["journal_full_permille"], 1000)
        self.assertGreater(now["memory_peak"], 0)
        # what there is, an operator finds explained
        with open(os.path.join(ROOT, "docs", "operations.md"), encoding="utf-8") as f:
            text = f.read()
        for part in ("now", "counters", "histograms"):
            self.assertEqual([k for k in varz["thebes"][part] if "`%s`" % k not in text], [])

    def test_traffic_of_ended_sessions_is_kept(self):
        server, port = self.start_http()
        a = self.connect(server, 'CONNECT {"verbose":false}')
        a.send(b"PUB foo 5\r\nhello\r\nFOO\r\n")
        self.assertEqual([a.line(), a.line()], ["-ERR 'Unknown Protocol Operation'", "EOF"])
        varz = json.loads(get(port, "/varz")[2])
        self.assertEqual((varz["in_msgs"], varz["in_bytes"], varz["connections"]), (1, 5, 0))

    def test_base_path(self):
        _, port = self.start_http("http_base_path: /nats\n")
        self.assertEqual(get(port, "/nats/healthz")[0], 200)
        self.assertEqual(get(port, "/healthz")[0], 404)

    def test_pipelining_and_keep_alive(self):
        _, port = self.start_http()
        request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        answers, closed = http(port, request * 5 + request.replace(b"Host: x", b"Host: x\r\nConnection: close"), 6)
        self.assertEqual([answer[0] for answer in answers], [200] * 6)
        self.assertTrue(closed)

    def test_head_and_body(self):
        _, port = self.start_http()
        ((status, headers, body),), _ = http(port, b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual((status, headers["Content-Length"], body), (200, "15", b""))
        chunked = b"POST /varz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        answers, _ = http(port, chunked + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 2)
        self.assertEqual([answer[0] for answer in answers], [405, 200])

    def test_requests_as_nats_server_takes_them(self):
        _, port = self.start_http("max_payload: 1000\n")
        moved = {"//varz": "/varz", "//varz?a=b": "/varz?a=b", "/varz/../healthz": "/healthz", "/./varz": "/varz", "///nope/": "/nope/",
                 "//": "/", "/..": "/", "/a/b/../../healthz/.": "/healthz", "http://x": "/", "http://x?a=b": "/?a=b",
                 "http://x//healthz": "/healthz", "//host/../varz": "/varz"}
        for path, location in moved.items():
            with self.subTest(path):
                status, headers, _ = get(port, path)
                self.assertEqual((status, headers.get("Location")), (301, location))
        for path, wanted in {"http://x/healthz": 200, "http://y:1/healthz?js-enabled-only=true": 200, "ftp://x/healthz": 200,
                             "http://x/nope": 404, "/varz/": 404}.items():
            with self.subTest(path):
                self.assertEqual(get(port, path)[0], wanted)
        for query, wanted in {"js-enabled-only=maybe": "maybe", "js-enabled=maybe": "maybe", "js-server-only=tRUE": "tRUE", "js%2denabled-only=%78": "x",
                              "js-server-only=2&js-enabled-only=3": "3", "js-enabled-only=": None, "js-enabled-only": None, "js-enabled-only=T": None,
                              "js-enabled-only=%74rue": None, "js-enabled-only=%zz": None, "js-enabled-only=false&js-enabled-only=x": None,
                              "js-enabled-only=x;a=b": None, "other=maybe": None}.items():
            with self.subTest(query):
                status, _, body = get(port, "/healthz?" + query)
                self.assertEqual(status, 400 if wanted else 200)
                self.assertIn(f'strconv.ParseBool: parsing "{wanted}": invalid syntax' if wanted else '{"status":"ok"}', body.decode())
        upgrade = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        answers, closed = http(port, upgrade + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 2)
        self.assertEqual(([answer[0] for answer in answers], closed), ([200, 200], True))

    def test_requests_that_are_refused(self):
        _, port = self.start_http()
        cases = {
            b"GET /healthz HTTP/1.1\r\n\r\n": 400,
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n": 400,
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n": 400,
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: b\r\n\tfolded\r\n\r\n": 400,
            b"GET /healthz HTTP/1.1\nHost: x\r\n\r\n": 400,
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n": 400,
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc": 400,
            b"GARBAGE\r\n\r\n": 400,
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20000 + b"\r\n\r\n": 431,
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100000: 413,
        }
        for data, wanted in cases.items():
            with self.subTest(data[:60]):
                answers, closed = http(port, data)
                self.assertEqual((answers[0][0], closed), (wanted, True))
        self.assertEqual(http(port, b"GET /healthz HTTP/1.0\r\n\r\n")[0][0][0], 200)


if __name__ == "__main__":
    sys.exit(unittest.main())
