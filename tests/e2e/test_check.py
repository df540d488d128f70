# SPDX-License-Identifier: Apache-2.0
"""`thebes check`: exit codes and JSON, on a store that a server wrote."""
import json
import subprocess

import pytest

pytestmark = [pytest.mark.jetstream, pytest.mark.thebes]


def check(server, directory, *flags):
    done = subprocess.run([str(server.binary), "check", str(directory), *flags], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


async def test_check_tells_whole_from_damaged(make_server, connect, tmp_path):
    server = make_server(jetstream=True)
    js = (await connect(server)).jetstream(timeout=10)
    await js.add_stream(name="S", subjects=["s"])
    for i in range(100):
        await js.publish("s", b"%d" % i)

    code, _, err = check(server, server.store)
    assert code == 2 and "in use" in err
    server.kill()
    for directory in (server.store, server.store / "jetstream"):
        code, out, _ = check(server, directory, "--json")
        rows = [json.loads(line) for line in out.splitlines()]
        assert code == 0 and [r for r in rows if r["kind"] == "damage"] == []
        assert rows[-1]["whole"] is True and rows[-1]["groups"] >= 2

    with open(server.store / "jetstream" / "journal" / "00", "r+b") as slot:
        slot.seek(4096 + 100)  # the second block: nothing later names all of its groups
        byte = slot.read(1)
        slot.seek(4096 + 100)
        slot.write(bytes([byte[0] ^ 1]))
    code, out, _ = check(server, server.store, "--json")
    damages = [r for r in map(json.loads, out.splitlines()) if r["kind"] == "damage"]
    assert code == 1
    assert any(d.get("file") == "journal/00" and d["offset"] == 4096 for d in damages)
    code, out, _ = check(server, server.store)
    assert code == 1 and "damage: journal/00 at 4096" in out

    code, _, err = check(server, tmp_path / "nowhere")
    assert code == 2 and "nowhere" in err
