# SPDX-License-Identifier: Apache-2.0
"""The power cut itself: what is synced stays, what is not may go. A test that takes nothing away would prove nothing about the server."""
import os
import subprocess
import textwrap

import pytest

from powercut import Rig

PRELUDE = """
import os
fd = os.open("a", os.O_RDWR | os.O_CREAT, 0o600)
here = os.open(".", os.O_RDONLY)
def sync(): os.fdatasync(fd); os.fsync(here)
"""


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path / "store", tmp_path)


def run(rig, code, prelude=PRELUDE):
    subprocess.run(["/usr/bin/python3", "-c", prelude + textwrap.dedent(code)], cwd=rig.store, check=True, env={**os.environ, **rig.env()})


def content(rig, name="a"):
    return (rig.store / name).read_bytes()


def test_unsynced_bytes_are_lost(rig):
    run(rig, """
        os.pwrite(fd, b"one" * 1000, 0); sync()
        os.pwrite(fd, b"two" * 2000, 0)
    """)
    assert content(rig) == b"two" * 2000
    rig.cut(1, keep="nothing")
    assert content(rig) == b"one" * 1000


def test_synced_bytes_stay(rig):
    run(rig, 'os.pwrite(fd, b"one", 0); os.pwritev(fd, [b"two", b"three"], 3); os.write(fd, b"O"); sync()')
    for seed in range(20):
        rig.cut(seed)
        assert content(rig) == b"Onetwothree"


def test_a_sync_of_another_file_does_not_help(rig):
    run(rig, """
        other = os.open("b", os.O_RDWR | os.O_CREAT, 0o600); sync()
        os.pwrite(fd, b"x", 0); os.pwrite(other, b"y", 0); os.fsync(other)
    """)
    rig.cut(1, keep="nothing")
    assert (content(rig), content(rig, "b")) == (b"", b"y")


def test_a_sync_covers_what_ended_beside_what_has_not(rig):
    """Another thread's write, begun before and not ended when the sync begins, is its own loss alone."""
    run(rig, """
        import signal, threading, time
        slow = os.open("slow", os.O_RDWR | os.O_CREAT, 0o600)
        sync(); size = os.path.getsize(os.environ["POWERCUT_LOG"])
        writer = threading.Thread(target=lambda: os.pwritev(slow, [bytes(1 << 28)], 0))
        writer.start()
        while os.path.getsize(os.environ["POWERCUT_LOG"]) == size: time.sleep(0.001)
        os.pwrite(fd, b"kept", 0); sync(); os.pwrite(fd, b"lost", 4)
        if not writer.is_alive(): raise SystemExit("the slow write was not slow")
        writer.join()
    """)
    rig.cut(1, keep="nothing")
    assert content(rig) == b"kept" and content(rig, "slow") == b""


def test_o_dsync_syncs_its_own_write_alone(rig):
    run(rig, """
        sync()
        direct = os.open("a", os.O_RDWR | os.O_DSYNC)
        os.pwrite(fd, b"lost", 0); os.pwrite(direct, b"kept", 4096)
    """)
    rig.cut(1, keep="nothing")
    assert content(rig)[4096:] == b"kept" and content(rig)[:4] == bytes(4)


def test_o_dsync_takes_the_unit_with_it(rig):
    run(rig, """
        sync()
        direct = os.open("a", os.O_RDWR | os.O_DSYNC)
        os.pwrite(fd, b"old", 0); os.pwrite(direct, b"new", 0); os.pwrite(fd, b"newer", 0)
    """)
    rig.cut(1, keep="nothing")
    assert content(rig) == b"new"


def test_truncate_and_allocate(rig):
    run(rig, """
        os.pwrite(fd, b"x" * 10000, 0); sync()
        os.ftruncate(fd, 100); os.posix_fallocate(fd, 0, 50000)
    """)
    assert len(content(rig)) == 50000
    rig.cut(1, keep="nothing")
    assert content(rig) == b"x" * 10000


def test_open_with_truncate(rig):
    run(rig, 'os.pwrite(fd, b"old", 0); sync(); os.open("a", os.O_WRONLY | os.O_TRUNC)')
    assert content(rig) == b""
    rig.cut(1, keep="nothing")
    assert content(rig) == b"old"


def test_names_need_a_sync_of_their_directory(rig):
    run(rig, """
        os.pwrite(fd, b"a", 0); sync()
        os.mkdir("d")
        new = os.open("new", os.O_RDWR | os.O_CREAT, 0o600); os.pwrite(new, b"new", 0); os.fsync(new)
        os.rename("new", "a")
    """)
    assert content(rig) == b"new" and (rig.store / "d").is_dir()
    rig.cut(1, keep="nothing")
    assert content(rig) == b"a" and sorted(os.listdir(rig.store)) == ["a"]


def test_what_failed_is_not_undone(rig):
    run(rig, """
        os.mkdir("d"); sync()
        for attempt in (lambda: os.mkdir("d"), lambda: os.rename("none", "a"), lambda: os.unlink("none"), lambda: os.rmdir("none")):
            try: attempt()
            except OSError: pass
            else: raise SystemExit("it did not fail")
    """)
    rig.cut(1, keep="nothing")
    assert sorted(os.listdir(rig.store)) == ["a", "d"]


def test_unlinked_files_come_back(rig):
    run(rig, """
        os.pwrite(fd, b"a", 0); b = os.open("b", os.O_RDWR | os.O_CREAT, 0o600); os.pwrite(b, b"b", 0); os.fsync(b); sync()
        os.unlink("a"); os.fsync(here); os.unlink("b")
    """)
    rig.cut(1, keep="nothing")
    assert os.listdir(rig.store) == ["b"] and content(rig, "b") == b"b"


def test_what_a_killed_process_left_unsynced_is_still_unsynced_for_the_next(rig):
    run(rig, 'sync(); os.pwrite(fd, b"first", 0)')
    run(rig, 'os.pwrite(fd, b"second", 4096)')
    rig.cut(1, keep="nothing")
    assert content(rig) == b""
    run(rig, 'os.pwrite(fd, b"first", 0)')
    run(rig, "os.fsync(fd); os.fsync(here)")
    rig.cut(1, keep="nothing")
    assert content(rig) == b"first"


def test_units_end_as_they_were_at_some_moment(rig):
    """Thirty versions of eight units over each other, then a cut: each unit is one of its versions since the sync, and seeds differ."""
    seen = set()
    for seed in range(30):
        run(rig, """
            os.ftruncate(fd, 0); os.pwrite(fd, bytes(8 * 4096), 0); sync()
            for version in range(1, 31): os.pwrite(fd, bytes([version]) * 8 * 4096, 0)
        """)
        rig.cut(seed)
        got = content(rig)
        assert len(got) == 8 * 4096
        units = [got[i:i + 512] for i in range(0, len(got), 512)]
        assert all(unit == unit[:1] * 512 and unit[0] <= 30 for unit in units)
        seen.add(tuple(unit[0] for unit in units))
    assert len(seen) > 10
    assert any(len(set(units)) > 2 for units in seen), "no cut tore anything"
