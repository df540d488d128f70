# SPDX-License-Identifier: Apache-2.0
"""Power cuts for a process that ran with powercut/powercut.c preloaded: what it did not sync is lost, kept or torn, as a seed decides.

    rig = Rig(store, directory); Server(..., env=rig.env()); server.kill(); rig.cut(seed)
"""
import os
import random
import shutil
import struct
import subprocess
from collections import defaultdict
from pathlib import Path

SOURCE = Path(__file__).parent / "powercut" / "powercut.c"
LIBRARY = Path(__file__).resolve().parents[2] / "build" / "tools" / "powercut.so"

# enum kind and struct record of powercut.c
WRITE, TRUNCATE, SYNC, SYNC_ONE, SYNC_DIR, CREATE, UNLINK, RENAME, MKDIR, RMDIR, VOID = range(1, 12)
RECORD = struct.Struct("<IIQQQQQIIII")
MAGIC = 0x43575031


def build_library():
    if not LIBRARY.exists() or LIBRARY.stat().st_mtime < SOURCE.stat().st_mtime:
        LIBRARY.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared",
                        "-o", LIBRARY, SOURCE, "-ldl", "-lpthread"], check=True)
    return LIBRARY


class Record:
    def __init__(self, position, fields, path, to, data):
        _, self.kind, self.ino, self.offset, self.length, self.old_size, self.upto, *_, self.op = fields
        self.position, self.path, self.to, self.data = position, path, to, data
        self.durable = False  # covered, while an older one of the file is not
        self.open_ops = {op for op, in struct.iter_unpack("<I", data)} if self.kind in (SYNC, SYNC_DIR) else ()

    def covers(self, other):
        """A sync: other began before it, and had ended."""
        return other.position < self.upto and other.op not in self.open_ops

    @property
    def parents(self):
        return {os.path.dirname(self.path), os.path.dirname(self.to or self.path)}


def read_log(path):
    """The records; one that is cut short belongs to an operation that never started."""
    with open(path, "rb") as f:
        while True:
            position = f.tell()
            head = f.read(RECORD.size)
            if len(head) < RECORD.size:
                return
            fields = RECORD.unpack(head)
            path_n, to_n, data_n = fields[7:10]
            if fields[0] != MAGIC:
                raise ValueError(f"no record at {position} of {path}")
            rest = f.read(path_n + to_n + data_n)
            if len(rest) < path_n + to_n + data_n:
                return
            yield Record(position, fields, rest[:path_n].decode(), rest[path_n:path_n + to_n].decode(), rest[path_n + to_n:])


class Rig:
    """Where the log and the shadow names of one store live: beside it, on the same file system."""

    def __init__(self, store, directory):
        self.store, self.log, self.shadow = Path(store), Path(directory) / "undo.log", Path(directory) / "shadow"
        self.store.mkdir(parents=True, exist_ok=True)
        self.shadow.mkdir(parents=True, exist_ok=True)

    def env(self, ignore_sync=False):
        env = {"LD_PRELOAD": str(build_library()), "POWERCUT_DIR": str(self.store), "POWERCUT_LOG": str(self.log),
               "POWERCUT_SHADOW": str(self.shadow)}
        return {**env, "POWERCUT_IGNORE_SYNC": "1"} if ignore_sync else env

    def cut(self, seed, keep=None):
        """The power goes. Returns (operations on bytes, operations on names) that were unsynced. keep: "nothing" or "all" for a certain outcome."""
        rng = random.Random(seed)
        records = list(read_log(self.log)) if self.log.exists() else []
        pending_bytes = unsynced_bytes(records)
        pending_names = unsynced_names(records)
        inodes = self._inodes()
        for ino, undo in pending_bytes.items():
            if ino in inodes:
                revert_bytes(inodes[ino], undo, rng, keep)
        kept = {"nothing": 0, "all": len(pending_names)}.get(keep, rng.randint(0, len(pending_names)))
        for record in reversed(pending_names[kept:]):
            self._revert_name(record)
        shutil.rmtree(self.shadow)
        self.shadow.mkdir()
        self.log.unlink(missing_ok=True)
        return sum(not r.durable for undo in pending_bytes.values() for r in undo), len(pending_names)

    def _inodes(self):
        found = {}
        for root in (self.shadow, self.store):
            for directory, _, files in os.walk(root):
                for name in files:
                    path = os.path.join(directory, name)
                    found[os.lstat(path).st_ino] = path
        return found

    def _revert_name(self, record):
        """Undoes one operation on names, if it took place: the process may have died between the record and the operation."""
        kept = self.shadow / str(record.ino)
        if record.kind == CREATE and os.path.exists(record.path):
            os.unlink(record.path)
        elif record.kind == UNLINK and not os.path.exists(record.path) and kept.exists():
            os.link(kept, record.path)
        elif record.kind == RENAME and os.path.exists(record.to) and not os.path.exists(record.path):
            os.rename(record.to, record.path)
            if record.ino and kept.exists():
                os.link(kept, record.to)
        elif record.kind == MKDIR and os.path.isdir(record.path):
            shutil.rmtree(record.path)
        elif record.kind == RMDIR and not os.path.exists(record.path):
            os.mkdir(record.path)


def unsynced_bytes(records):
    """{inode: [record, oldest first]} from the first on that no sync of the file covers; those covered behind it are marked durable."""
    pending = defaultdict(list)
    for r in records:
        if r.kind in (WRITE, TRUNCATE):
            pending[r.ino].append(r)
        elif r.kind in (SYNC, SYNC_ONE):
            of_file = pending[r.ino]
            for w in of_file:
                w.durable |= w.op == r.op if r.kind == SYNC_ONE else r.covers(w)
            while of_file and of_file[0].durable:
                del of_file[0]
    return {ino: undo for ino, undo in pending.items() if undo}


def unsynced_names(records):
    """Operations on names that no sync of all their directories covers, oldest first."""
    syncs = defaultdict(list)
    for r in records:
        if r.kind == SYNC_DIR:
            syncs[r.path].append(r)
    void = {r.upto for r in records if r.kind == VOID}
    return [r for r in records if CREATE <= r.kind < VOID and r.position not in void
            and not all(any(s.covers(r) for s in syncs[p]) for p in r.parents)]


def revert_bytes(path, undo, rng, keep=None):
    """Puts old bytes back, newest record first. A unit (what a disk writes at once) goes back in time up to one record and stays there, so it
    ends as it was at some moment since the last sync, whatever happened to its neighbours."""
    unit = rng.choice([512, 4096])
    mood = {"nothing": "all lost", "all": "all kept"}.get(keep) or rng.choice(
        ["all lost", "all lost", "all kept", "tail lost", "tail lost", "torn", "torn", "mixed"])
    tail = rng.randint(0, len(undo))

    def stays(index):
        if mood == "all lost":
            return False
        if mood == "all kept":
            return True
        if mood == "tail lost":
            return index < tail
        return rng.random() < 0.5

    settled, size_settled, torn = set(), False, {}
    with open(path, "r+b", buffering=0) as f:
        size = os.fstat(f.fileno()).st_size
        for index in range(len(undo) - 1, -1, -1):
            r = undo[index]
            if not size_settled:
                size_settled = r.durable or stays(index)
                size = size if size_settled else r.old_size
            old = r.data
            for number in range(r.offset // unit, (r.offset + r.length + unit - 1) // unit if r.length else 0):
                if number in settled:
                    continue
                if r.durable:
                    stay = True
                elif mood == "torn":  # a unit is new or as it was synced, nothing between
                    stay = torn.setdefault(number, rng.random() < 0.5)
                else:
                    stay = stays(index)
                if stay:
                    settled.add(number)
                    continue
                start, end = max(number * unit, r.offset), min((number + 1) * unit, r.offset + r.length)
                piece = old[start - r.offset:end - r.offset]
                os.pwrite(f.fileno(), piece + bytes(end - start - len(piece)), start)
        f.truncate(size)
