"""The decoded cache: what is a hit, what is a miss, and that both give the same."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trainables
from tests.trainables.data.cache_toys import (
    CONFIG,
    OPTIONAL,
    SOURCE,
    Loader,
    is_mapped,
    make_dataset,
    write_source,
)
from tests.trainables.data.h36m_writer import make_positions, make_views, write_folder
from trainables.config import DataConfig
from trainables.data.cache.arrays import FIELDS
from trainables.data.cache.reader_digest import reader_digest, source_digest
from trainables.data.dataset import PoseDataset, PoseSplit
from trainables.data.loading import load_dataset
from trainables.errors import DataError, UnsafeDataError

STAND_INS = Path(__file__).parents[4] / "shared" / "data"

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(write_source(tmp_path / "data", 1), tmp_path / "cache")


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="trainables.data.cache")


def manifest_of(loader: Loader) -> Path:
    (path,) = loader.cache.path.glob("*.json")
    return path


def data_of(loader: Loader) -> Path:
    (path,) = loader.cache.path.glob("*.poses")
    return path


def forge(path: Path, change: Change) -> None:
    """Change a manifest as somebody would who knows its checksum."""
    manifest = json.loads(path.read_text())["manifest"]
    change(manifest)
    body = json.dumps(manifest).encode()
    digest = hashlib.sha256(body).hexdigest()
    path.write_bytes(b'{"sha256": "' + digest.encode() + b'",\n"manifest": ' + body + b"}\n")


def assert_same(found: PoseDataset, expected: PoseDataset) -> None:
    assert found.name == expected.name
    assert found.skeleton == expected.skeleton
    assert found.notes == expected.notes
    assert json.dumps([asdict(s) for s in found.sequences]) == json.dumps(
        [asdict(s) for s in expected.sequences]
    )
    assert found.sequences == expected.sequences
    assert list(found.splits) == list(expected.splits)
    for name, split in expected.splits.items():
        for field in fields(PoseSplit):
            theirs, ours = getattr(split, field.name), getattr(found.splits[name], field.name)
            if theirs is None:
                assert ours is None
            else:
                assert ours.dtype == theirs.dtype
                np.testing.assert_array_equal(ours, theirs)
    assert found.content_hash() == expected.content_hash()


def test_the_second_start_maps_what_the_first_one_read(
    loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = loader(), loader()
    assert loader.reads == 1
    for dataset in (first, second):
        assert_same(dataset, make_dataset(1))
        assert is_mapped(dataset)
    assert [r.levelname for r in caplog.records] == ["INFO"]
    assert json.loads(manifest_of(loader).read_text())["manifest"]["name"] == "h36m"
    split = second.splits["val"]
    assert split.valid is not None
    assert all(a.ctypes.data % 64 == 0 for a in (split.x, split.y, split.frame, split.valid))
    with pytest.raises(ValueError, match="read-only"):
        split.x[0] = 0.0
    with pytest.raises(ValueError, match="WRITEABLE"):
        split.x.flags.writeable = True


def test_every_field_of_a_split_is_kept() -> None:
    assert list(FIELDS) == [field.name for field in fields(PoseSplit)]


def test_mapped_arrays_are_handed_to_pickle_without_a_copy(loader: Loader) -> None:
    loader()
    dataset = loader()
    buffers: list[pickle.PickleBuffer] = []
    text = pickle.dumps(dataset, protocol=5, buffer_callback=buffers.append)
    split = dataset.splits["train"]
    assert len(text) < 4000 + split.frame.nbytes
    assert split.x.ctypes.data in {np.frombuffer(b.raw(), np.uint8).ctypes.data for b in buffers}
    assert_same(pickle.loads(text, buffers=buffers), make_dataset(1))


def test_what_matters_to_training_only_shares_an_entry(loader: Loader) -> None:
    loader()
    idle = {"content_hash": "x", "frames": 9, "clip_step": 3, "max_eval_poses": 5}
    loader(CONFIG.model_copy(update=idle))
    assert loader.reads == 1
    changes: tuple[dict[str, Any], ...] = ({"stride": 2}, {"joints": 16}, {"keypoints": "cpn"})
    for number, change in enumerate(changes, 2):
        loader(CONFIG.model_copy(update=change))
        assert loader.reads == number
    assert len(list(loader.cache.path.glob("*.poses"))) == 4


def test_a_folder_is_the_same_by_any_name(loader: Loader, tmp_path: Path) -> None:
    loader()
    (tmp_path / "link").symlink_to(loader.folder)
    other = Loader(tmp_path / "link", loader.cache.path)
    other()
    assert other.reads == 0


def test_a_touched_source_is_read_but_not_decoded_again(
    loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    loader()
    before = json.loads(manifest_of(loader).read_text())["manifest"]["sources"]
    os.utime(loader.folder / SOURCE, ns=(1, 1))
    caplog.clear()
    assert_same(loader(), make_dataset(1))
    after = json.loads(manifest_of(loader).read_text())["manifest"]["sources"]
    assert loader.reads == 1
    assert not caplog.records
    assert before[0]["sha256"] == after[0]["sha256"]
    assert after[0]["identity"]["mtime_ns"] == 1
    assert after[1] == {"path": OPTIONAL, "identity": None, "sha256": None}


def test_a_source_that_changes_keeping_size_and_time_is_noticed(loader: Loader) -> None:
    path = loader.folder / SOURCE
    os.utime(path, ns=(5, 5))
    loader()
    path.write_bytes(bytes([2]) * 100)
    os.utime(path, ns=(5, 5))
    assert_same(loader(), make_dataset(2))
    assert_same(loader(), make_dataset(2))
    assert loader.reads == 2
    assert len(list(loader.cache.path.iterdir())) == 3, "lock, manifest, data: the old is gone"


def test_an_optional_source_that_appears_or_goes_is_noticed(loader: Loader) -> None:
    loader()
    (loader.folder / OPTIONAL).write_text("a")
    loader()
    loader()
    assert loader.reads == 2
    (loader.folder / OPTIONAL).unlink()
    loader()
    assert loader.reads == 3


def test_what_changes_while_it_is_read_is_not_kept(
    loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    loader.while_reading = lambda: (loader.folder / SOURCE).write_bytes(b"\2" * 100)
    assert_same(loader(), make_dataset(1))
    assert "changed while they were read" in caplog.text
    assert not list(loader.cache.path.glob("*.json"))
    loader.while_reading = lambda: None
    assert_same(loader(), make_dataset(2))


def _flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def _link(path: Path) -> None:
    other = path.with_name("elsewhere")
    path.rename(other)
    path.symlink_to(other)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "data cut": (lambda m, d: os.truncate(d, 500), "has 500 bytes, expected"),
    "data longer": (lambda m, d: d.write_bytes(d.read_bytes() + b"0"), "bytes, expected"),
    "data empty": (lambda m, d: os.truncate(d, 0), "has 0 bytes"),
    "data gone": (lambda m, d: d.unlink(), "there is no h36m-"),
    "first bit": (lambda m, d: _flip(d, 0), "is damaged"),
    "last bit": (lambda m, d: _flip(d, -1), "is damaged"),
    "manifest bit": (lambda m, d: _flip(m, 400), "manifest is damaged"),
    "manifest's last bit": (lambda m, d: _flip(m, -2), "manifest is damaged"),
    "manifest cut": (lambda m, d: os.truncate(m, 300), "manifest is damaged"),
    "manifest empty": (lambda m, d: os.truncate(m, 0), "manifest is damaged"),
    "manifest a pickle": (
        lambda m, d: m.write_bytes(pickle.dumps({"format": 1})),
        "manifest is damaged",
    ),
    "data a link": (lambda m, d: _link(d), "symbolic links"),
    "manifest a link": (lambda m, d: _link(m), "symbolic links"),
    "data a pipe": (lambda m, d: _pipe(d), "no plain file"),
    "manifest a pipe": (lambda m, d: _pipe(m), "no plain file"),
    "data of the group": (lambda m, d: d.chmod(0o620), "may be written by others"),
    "manifest of all": (lambda m, d: m.chmod(0o602), "may be written by others"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_noticed_and_mended(
    loader: Loader, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    loader()
    caplog.clear()
    damage, said = DAMAGE[case]
    damage(manifest_of(loader), data_of(loader))
    assert_same(loader(), make_dataset(1))
    assert [r for r in caplog.records if said in r.getMessage()]
    assert len(caplog.records) == 1
    assert_same(loader(), make_dataset(1))
    assert loader.reads == 2
    assert not data_of(loader).is_symlink()


def _array(number: int, **values: Any) -> Change:
    return lambda manifest: manifest["arrays"][number].update(values)


def _sequence(**values: Any) -> Change:
    return lambda manifest: manifest["sequences"][0].update(values)


def _top(**values: Any) -> Change:
    return lambda manifest: manifest.update(values)


def _swap_offsets(manifest: dict[str, Any]) -> None:
    one, two = manifest["arrays"][2:4]
    one["offset"], two["offset"] = two["offset"], one["offset"]


FORGERIES: dict[str, tuple[Change, str]] = {
    "format": (_top(format=3), "it has format 3"),
    "an earlier format": (_top(format=1, reader=1), "it has format 1"),
    "other loaders": (_top(reader="0" * 64), "read by other loaders than the present ones"),
    "format a text": (_top(format="1"), "format"),
    "extra field": (_top(more=1), "more"),
    "field gone": (lambda m: m.pop("notes"), "notes"),
    "other folder": (_top(folder="/elsewhere"), "that of other data"),
    "other fields": (lambda m: m["fields"].update(stride=2), "that of other data"),
    "path out of the folder": (_top(data_file="../x.poses"), "data_file"),
    "another's file": (_top(data_file=f"h36m-{'0' * 24}-{'0' * 16}.poses"), "of other data"),
    "other content": (_top(content_hash="0" * 64), "that of other data"),
    "size": (_top(size=10**15), "bytes, expected 1000000000000000"),
    "objects": (_array(0, dtype="|O"), "dtype"),
    "wider": (_array(0, dtype="<f8"), "dtype"),
    "other type": (_array(0, dtype="<i4"), "expected <f4"),
    "negative offset": (_array(1, offset=-64), "offset"),
    "offset beyond the end": (_array(9, offset=2**40), "misplaced"),
    "last offset beyond the end": (_array(-1, offset=2**40), "its data file at"),
    "unaligned": (_array(1, offset=4), "misplaced"),
    "overlap": (_array(1, offset=0), "misplaced"),
    "exchanged": (_swap_offsets, "misplaced"),
    "shape": (_array(0, shape=[60, 34]), "expected <f4"),
    "huge shape": (_array(0, shape=[2**39, 2**39, 2**39]), "misplaced"),
    "no shape": (_array(0, shape=[]), "shape"),
    "fraction": (_array(0, shape=[60.0, 17, 2]), "shape"),
    "twice": (_array(1, field="x"), "twice"),
    "another split": (_array(1, split="other"), "has no"),
    "no field": (_array(1, field="z"), "field"),
    "fewer joints": (lambda m: m["skeleton"].update(joints=["hip"]), "not the present one"),
    "no skeleton": (_top(skeleton={}), "name"),
    "other subject": (_sequence(subject="S2"), "is damaged"),
    "other rate": (_sequence(fps=25), "is damaged"),
    "no camera": (_sequence(camera=None), "is damaged"),
    "unknown field": (_sequence(more=1), "more"),
    "subject a number": (_sequence(subject=1), "subject"),
    "sequence gone": (lambda m: m["sequences"].pop(), "is damaged"),
    "notes no texts": (_top(notes=[1]), "notes"),
    "unknown source": (lambda m: m["sources"][0].update(path="x"), "is new, or gone"),
    "source gone": (lambda m: m["sources"].pop(), "is new, or gone"),
    "a third source": (
        lambda m: m["sources"].append({"path": "x", "identity": None, "sha256": None}),
        "no longer read",
    ),
}


@pytest.mark.parametrize("case", FORGERIES)
def test_a_manifest_that_cannot_be_right_is_noticed(
    loader: Loader, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    loader()
    caplog.clear()
    change, said = FORGERIES[case]
    forge(manifest_of(loader), change)
    assert_same(loader(), make_dataset(1))
    assert [r for r in caplog.records if said in r.getMessage()], caplog.text
    assert_same(loader(), make_dataset(1))
    assert loader.reads == 2


def test_an_untouched_forgery_would_be_read(loader: Loader) -> None:
    """The cases above fail for what they change, not for how they are written."""
    loader()
    forge(manifest_of(loader), lambda manifest: None)
    loader()
    assert loader.reads == 1


@pytest.fixture
def h36m(tmp_path: Path) -> Path:
    positions = make_positions()
    return write_folder(tmp_path / "h36m", positions, make_views(positions))


@pytest.mark.parametrize("fields", [{}, {"stride": 3}, {"joints": 16}])
def test_real_loaders_give_the_same_with_and_without(
    h36m: Path, tmp_path: Path, fields: dict[str, Any]
) -> None:
    config = DataConfig(name="h36m", **fields)
    expected = load_dataset(config, h36m)
    for _ in range(2):
        assert_same(load_dataset(config, h36m, cache=tmp_path / "cache"), expected)
    assert len(list((tmp_path / "cache").glob("*.poses"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "folder"), [("h36m", "cmu_h36m"), ("mpi_inf_3dhp", "cmu_3dhp")])
def test_stand_ins_are_the_same_with_and_without(tmp_path: Path, name: str, folder: str) -> None:
    data_dir = STAND_INS / folder
    if not data_dir.is_dir():
        pytest.skip(f"{data_dir} is not there")
    config = DataConfig.model_validate({"name": name, "stride": 4})
    expected = load_dataset(config, data_dir)
    for _ in range(2):
        found = load_dataset(config, data_dir, cache=tmp_path)
        assert_same(found, expected)
        assert is_mapped(found)


def test_errors_of_the_loader_are_the_same_with_a_cache(h36m: Path, tmp_path: Path) -> None:
    config, cache = DataConfig(name="h36m"), tmp_path / "cache"
    load_dataset(config, h36m, cache=cache)
    with pytest.raises(DataError, match="needs a data folder"):
        load_dataset(config, cache=cache)
    with pytest.raises(DataError, match="no such folder"):
        load_dataset(config, tmp_path / "nowhere", cache=cache)
    with pytest.raises(DataError, match="no file suffix"):
        load_dataset(config.model_copy(update={"keypoints": "../gt"}), h36m, cache=cache)
    path = h36m / "data_3d_h36m.npz"
    path.rename(tmp_path / "moved.npz")
    with pytest.raises(DataError, match=r"looked for data_3d_h36m\.npz"):
        load_dataset(config, h36m, cache=cache)
    path.symlink_to(tmp_path / "moved.npz")
    with pytest.raises(UnsafeDataError, match="is a link to"):
        load_dataset(config, h36m, cache=cache)
    assert len(list(cache.glob("*.poses"))) == 1


def test_the_sample_needs_no_cache(tmp_path: Path) -> None:
    load_dataset(DataConfig(stride=50), cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_data_set_of_other_sources_is_read_anew(
    loader: Loader, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an update: nobody has to remember to raise a version."""
    loader()
    loader()
    assert loader.reads == 1
    caplog.clear()
    for module in ("access", "manifest"):
        target = f"trainables.data.cache.{module}.reader_digest"
        monkeypatch.setattr(target, lambda: "1" * 64)
    assert_same(loader(), make_dataset(1))
    assert loader.reads == 2
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "other loaders" in caplog.text
    loader()
    assert loader.reads == 2


def test_the_digest_covers_every_source_by_name_and_content(tmp_path: Path) -> None:
    folder = tmp_path / "one" / "data"
    (folder / "h36m").mkdir(parents=True)
    (folder / "verification.py").write_text("LIMIT = 1")
    (folder / "h36m" / "loader.py").write_text("")
    first = source_digest([folder])
    copied = tmp_path / "two" / "data"
    shutil.copytree(folder, copied)
    assert source_digest([copied]) == first
    (copied / "verification.py").write_text("LIMIT = 2")
    assert source_digest([copied]) != first
    (folder / "h36m" / "loader.py").rename(folder / "h36m" / "files.py")
    assert source_digest([folder]) not in (first, source_digest([copied]))
    with pytest.raises(FileNotFoundError, match="holds no Python sources"):
        source_digest([tmp_path / "empty"])


def test_the_present_digest_is_that_of_loaders_checks_and_skeletons() -> None:
    root = Path(trainables.__file__).parent
    assert reader_digest() == source_digest([root / "data", root / "skeletons"])
