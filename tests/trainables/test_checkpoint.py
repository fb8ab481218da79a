"""Checkpoints: atomic, checksummed, strict, and never code."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables.checkpoint import CheckpointStore, load_checkpoint
from trainables.errors import CheckpointError, StorageUnreachableError

FINGERPRINT = "0123abcd"


def state(value: float) -> dict[str, Any]:
    return {
        "epoch": 3,
        "net": {"weight": torch.full((4, 5), value), "steps": [1, 2.5, None, "x", True]},
        "double": torch.tensor([1 / 3], dtype=torch.float64),
    }


def value_of(store: CheckpointStore) -> float | None:
    checkpoint = store.load(FINGERPRINT, "last")
    return None if checkpoint is None else checkpoint.state["net"]["weight"][0, 0].item()


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints")


def test_round_trip_is_exact(store: CheckpointStore) -> None:
    saved = state(0.1)
    location = store.save(FINGERPRINT, "best", saved, {"epoch": 3, "history": [[1, 0.5]]})
    assert location == str(store.path(FINGERPRINT, "best"))
    checkpoint = store.load(FINGERPRINT, "best")
    assert checkpoint is not None
    assert checkpoint.location == location
    assert checkpoint.meta == {"epoch": 3, "history": [[1, 0.5]], "fingerprint": FINGERPRINT}
    assert torch.equal(checkpoint.state["net"]["weight"], saved["net"]["weight"])
    assert torch.equal(checkpoint.state["double"], saved["double"])
    assert checkpoint.state["net"]["steps"] == [1, 2.5, None, "x", True]
    assert load_checkpoint(location).meta == checkpoint.meta


def test_kinds_and_fingerprints_are_kept_apart(store: CheckpointStore) -> None:
    store.save(FINGERPRINT, "last", state(1.0), {})
    store.save("ffff", "last", state(2.0), {})
    assert store.load(FINGERPRINT, "best") is None
    assert value_of(store) == 1.0


def test_nothing_saved_is_none(store: CheckpointStore) -> None:
    assert store.load(FINGERPRINT, "last") is None


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace_by_other_file(path: Path) -> None:
    path.write_bytes(b"not a checkpoint\n" * 20)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, replace_by_other_file, os.unlink])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    store: CheckpointStore, caplog: pytest.LogCaptureFixture, damage: Any
) -> None:
    for value in (1.0, 2.0, 3.0):
        store.save(FINGERPRINT, "last", state(value), {})
    damage(store.path(FINGERPRINT, "last"))
    with caplog.at_level(logging.WARNING):
        assert value_of(store) == 2.0
    assert "the checkpoint before it is used: " in caplog.text
    store.save(FINGERPRINT, "last", state(4.0), {})
    assert value_of(store) == 4.0


def test_two_damaged_checkpoints_are_none_and_told(
    store: CheckpointStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.save(FINGERPRINT, "last", state(1.0), {})
    store.save(FINGERPRINT, "last", state(2.0), {})
    folder = store.path(FINGERPRINT, "last").parent
    for file in folder.iterdir():
        truncate(file)
    with caplog.at_level(logging.WARNING):
        assert value_of(store) is None
    assert caplog.text.count("its checksum does not match") == 2


def test_a_checkpoint_of_another_configuration_is_refused(store: CheckpointStore) -> None:
    other = store.save("ffff", "last", state(1.0), {})
    path = store.path(FINGERPRINT, "last")
    path.parent.mkdir()
    path.write_bytes(Path(other).read_bytes())
    with pytest.raises(CheckpointError, match="of configuration 'ffff', expected '0123abcd'"):
        store.load(FINGERPRINT, "last")
    with pytest.raises(CheckpointError, match="meta is of 'ffff', to be saved as '0123abcd'"):
        store.save(FINGERPRINT, "last", state(1.0), {"fingerprint": "ffff"})


@pytest.mark.parametrize("fingerprint", ["../x", "a/b", "", "a.b"])
def test_a_fingerprint_cannot_leave_the_folder(store: CheckpointStore, fingerprint: str) -> None:
    with pytest.raises(CheckpointError, match="letters and digits"):
        store.save(fingerprint, "last", state(1.0), {})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.float64(1.0), r"state\['net'\]\[0\] is a float64"),
        (np.zeros(2), r"is a ndarray"),
        (Path("x"), r"is a \w*Path"),
        (object(), r"is a object"),
    ],
)
def test_states_that_could_not_be_read_back_are_refused(
    store: CheckpointStore, value: object, message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        store.save(FINGERPRINT, "last", {"net": [value]}, {})
    assert store.load(FINGERPRINT, "last") is None


def test_meta_that_is_no_json_is_refused(store: CheckpointStore) -> None:
    with pytest.raises(CheckpointError, match="cannot be written as JSON"):
        store.save(FINGERPRINT, "last", state(1.0), {"path": Path("x")})


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_code_in_a_checkpoint_is_not_run(store: CheckpointStore, tmp_path: Path) -> None:
    import hashlib
    import io

    proof = tmp_path / "proof"
    stream = io.BytesIO()
    torch.save({"net": Malicious(proof)}, stream)
    body = b'{"fingerprint": "0123abcd"}\n' + stream.getvalue()
    path = Path(store.save(FINGERPRINT, "last", state(1.0), {}))
    magic = path.read_bytes().split(b" ")[0]
    path.write_bytes(magic + b" " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    with pytest.raises(CheckpointError, match="holds what no checkpoint holds"):
        load_checkpoint(path)
    assert not proof.exists()
    pickle.loads(pickle.dumps(Malicious(proof)))  # the payload does work where code is run
    assert proof.exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read checkpoint .*none\.ckpt: No such"):
        load_checkpoint(tmp_path / "none.ckpt")


def test_a_failed_write_leaves_the_old_checkpoint_and_no_litter(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(store.save(FINGERPRINT, "last", state(1.0), {}))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CheckpointError, match="No space left on device; check the free"):
            store.save(FINGERPRINT, "last", state(2.0), {})
    assert value_of(store) == 1.0
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_abandoned_temporary_files_are_removed_and_fresh_ones_kept(
    store: CheckpointStore,
) -> None:
    folder = Path(store.save(FINGERPRINT, "last", state(1.0), {})).parent
    old, fresh = folder / ".last.ckpt.old.tmp", folder / ".last.ckpt.fresh.tmp"
    for file in (old, fresh):
        file.write_bytes(b"half")
    two_hours_ago = time.time() - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))
    store.save(FINGERPRINT, "last", state(2.0), {})
    assert not old.exists()
    assert fresh.exists()


WRITER = """
import os, sys, torch
from pathlib import Path
from trainables.checkpoint import CheckpointStore
store = CheckpointStore(Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    child = os.fork()  # torch is imported once for all
    if child == 0:
        print(os.getpid(), flush=True)
        value = 0.0
        while True:
            value += 1.0
            tensor = torch.full((200_000,), value)
            store.save("0123abcd", "last", {"value": tensor}, {"value": value})
            print(value, flush=True)
    os.waitpid(child, 0)
    print("killed", flush=True)
"""


@pytest.mark.fault
@pytest.mark.slow
def test_a_killed_writer_always_leaves_a_readable_checkpoint(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    path = os.pathsep.join(p for p in sys.path if p)
    attempts = 6
    writers = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), str(attempts)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert writers.stdout is not None
    lines = (line.strip() for line in writers.stdout)
    for attempt in range(attempts):
        writer = int(next(lines))
        written = [next(lines) for _ in range(2 + attempt)]
        time.sleep(0.002 * attempt)  # another moment of a write each time
        os.kill(writer, signal.SIGKILL)
        written += itertools.takewhile(lambda line: line != "killed", lines)
        checkpoint = store.load("0123abcd", "last")
        assert checkpoint is not None
        assert checkpoint.meta["value"] >= float(written[-1]) - 1
        assert (checkpoint.state["value"] == checkpoint.meta["value"]).all()
    assert writers.wait() == 0
    writers.stdout.close()


def failing_reads(
    monkeypatch: pytest.MonkeyPatch, number: int, *, of: str = "", times: int = 1000
) -> None:
    """Let the next reads of files whose names contain a text fail as a file system does."""
    read, left = Path.read_bytes, [times]

    def fail(path: Path) -> bytes:
        if of in path.name and left[0] > 0:
            left[0] -= 1
            raise OSError(number, os.strerror(number), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", fail)


@pytest.mark.parametrize(
    "number", [errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.EACCES, errno.EIO]
)
def test_a_folder_that_is_out_of_reach_is_not_taken_for_an_empty_one(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    for value in (1.0, 2.0):
        location = store.save(FINGERPRINT, "last", state(value), {})
    failing_reads(monkeypatch, number)
    for read in (lambda: store.find(FINGERPRINT, "last"), lambda: load_checkpoint(location)):
        with pytest.raises(StorageUnreachableError, match=rf"last\.ckpt: {os.strerror(number)}"):
            read()


def test_one_unreadable_file_in_a_folder_that_answers_is_passed_over(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (1.0, 2.0):
        store.save(FINGERPRINT, "last", state(value), {})
    failing_reads(monkeypatch, errno.EIO, of="last.ckpt")
    assert value_of(store) == 1.0
