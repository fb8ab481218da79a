"""H3WB as a data set: geometry, folds, and what is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainables.data.h3wb_writer import (
    SUBJECTS,
    Actions,
    Sample,
    json_samples,
    make_whole_bodies,
    npz_actions,
    write_json,
    write_npz,
)
from trainables.config import DataConfig
from trainables.data.dataset import PoseDataset
from trainables.data.h3wb.folds import split_samples
from trainables.data.h3wb.loader import h3wb_files, load_h3wb
from trainables.data.inspection import inspect_dataset
from trainables.data.loading import load_dataset
from trainables.data.motion_checks import pose_signatures
from trainables.errors import DataError, UnsafeDataError
from trainables.skeletons import H3WB_133

H3WB = DataConfig(name="h3wb")


@pytest.fixture(scope="module")
def bodies() -> Actions:
    return make_whole_bodies(step=3)


@pytest.fixture(scope="module")
def samples(bodies: Actions) -> dict[str, Sample]:
    return json_samples(bodies)


@pytest.fixture(scope="module")
def json_folder(tmp_path_factory: pytest.TempPathFactory, samples: dict[str, Sample]) -> Path:
    return write_json(tmp_path_factory.mktemp("h3wb") / "json", samples)


@pytest.fixture
def npz_folder(tmp_path: Path, bodies: Actions) -> Path:
    return write_npz(tmp_path / "npz", npz_actions(bodies))


@pytest.fixture(scope="module")
def dataset(json_folder: Path) -> PoseDataset:
    return load_dataset(H3WB, json_folder)


@pytest.fixture
def few(tmp_path: Path, samples: dict[str, Sample]) -> Path:
    """A folder with 20 samples."""
    return write_json(tmp_path / "few", {n: samples[n] for n in map(str, range(0, 300, 15))})


def with_fold(fold: int) -> DataConfig:
    return DataConfig(name="h3wb", fold=fold)


def test_the_3d_of_both_forms_projects_onto_the_2d(dataset: PoseDataset, npz_folder: Path) -> None:
    for data in (dataset, load_dataset(H3WB, npz_folder)):
        report = inspect_dataset(data)
        assert report["problems"] == []
        for split in report["splits"].values():
            assert split["reprojection_px"]["max"] < 0.01
            assert split["knees_bend_forward"] == 1.0
            assert set(split["subjects"]) <= set(SUBJECTS)


def test_poses_are_metres_from_between_the_hips(
    dataset: PoseDataset, samples: dict[str, Sample]
) -> None:
    split = dataset.splits["test"]  # the first fifth
    assert split.root is not None
    seen_mm = 1000 * (split.y.astype(np.float64) + split.root[:, None])
    np.testing.assert_allclose(split.y[:, [11, 12]].mean(axis=1), 0.0, atol=2e-6)
    by_path = {sample["image_path"]: sample["keypoints_3d"] for sample in samples.values()}
    for pose in (0, 30, len(split) - 1):
        info = dataset.sequences[split.sequence[pose]]
        folder = f"{info.subject}/Images/{info.action}.{info.view}"
        joints = by_path[f"{folder}/frame_{split.frame[pose]:04d}.jpg"]
        expected = [[joints[str(j)][axis] for axis in "xyz"] for j in range(133)]
        np.testing.assert_allclose(seen_mm[pose], expected, atol=5e-3)


def test_samples_are_loose_poses_of_known_views(dataset: PoseDataset) -> None:
    assert dataset.skeleton == H3WB_133
    assert {info.ordered for info in dataset.sequences} == {False}
    assert {info.source for info in dataset.sequences} == {None}
    info = dataset.sequences[0]
    assert info.action == f"{info.base_action} 1"
    assert info.base_action in ("Walk", "Jump", "Punch")
    assert info.camera is not None
    assert len({(s.subject, s.action, s.view) for s in dataset.sequences}) == 4 * 3 * 4


Moment = tuple[str, str, int]


def moments_of(data: PoseDataset) -> dict[str, dict[Moment, int]]:
    """Views of each moment by split."""
    found: dict[str, dict[Moment, int]] = {}
    for name, split in data.splits.items():
        views = found.setdefault(name, {})
        for number, frame in zip(split.sequence, split.frame, strict=True):
            info = data.sequences[number]
            moment = (info.subject, info.action.removesuffix(" 1").lower(), int(frame))
            views[moment] = views.get(moment, 0) + 1
    return found


@pytest.mark.parametrize("fold", range(5))
def test_folds_are_fifths_and_the_last_eighth_validates(
    json_folder: Path, npz_folder: Path, samples: dict[str, Sample], fold: int
) -> None:
    data = load_h3wb(with_fold(fold), json_folder)
    found = moments_of(data)
    count = len(samples) // 4
    ordered = sorted({moment for views in found.values() for moment in views})
    assert len(ordered) == count
    lowest, highest = -(-fold * count // 5), -(-(fold + 1) * count // 5)
    assert sorted(found["test"]) == ordered[lowest:highest]
    training = [moment for moment in ordered if moment not in found["test"]]
    validating = -(-len(training) // 8)
    assert sorted(found["val"]) == training[-validating:]
    assert sorted(found["train"]) == training[:-validating]
    assert {views for split in found.values() for views in split.values()} == {4}
    last_training_fold = 3 if fold == 4 else 4
    note = f"fold {fold} tests; validation: the last eighth of the other four, which is the end of"
    assert any(n == f"{note} fold {last_training_fold}" for n in data.notes)
    assert moments_of(load_h3wb(with_fold(fold), npz_folder)) == found


@pytest.mark.parametrize("with_paths", [True, False])
def test_views_of_a_moment_stay_together_whatever_the_ids(
    tmp_path: Path, samples: dict[str, Sample], with_paths: bool
) -> None:
    ids = np.random.default_rng(1).permutation(len(samples)).tolist()
    shuffled = {
        str(n): {key: value for key, value in s.items() if with_paths or key != "image_path"}
        for n, s in zip(ids, samples.values(), strict=True)
    }
    data = load_h3wb(with_fold(2), write_json(tmp_path / "shuffled", shuffled))
    found = []
    for split in data.splits.values():
        signatures = set(pose_signatures(split.y, H3WB_133).tolist())
        assert len(split) / len(signatures) > 3.5  # four views, but for what rounding tears
        found.append(signatures)
    for one, other in combinations(found, 2):
        assert not one & other


def test_reading_again_gives_the_same_and_another_fold_does_not(
    dataset: PoseDataset, json_folder: Path
) -> None:
    assert load_dataset(H3WB, json_folder).content_hash() == dataset.content_hash()
    assert load_h3wb(with_fold(1), json_folder).content_hash() != dataset.content_hash()


def test_the_order_in_the_file_does_not_matter(few: Path, tmp_path: Path) -> None:
    content = json.loads((few / "2Dto3D_train.json").read_text())
    turned = write_json(tmp_path / "turned", dict(reversed(content.items())))
    assert load_h3wb(H3WB, turned).content_hash() == load_h3wb(H3WB, few).content_hash()


def test_stride_thins_every_sequence(dataset: PoseDataset, json_folder: Path) -> None:
    thin = load_h3wb(DataConfig(name="h3wb", stride=2), json_folder)
    for name, split in thin.splits.items():
        lengths = np.unique(dataset.splits[name].sequence, return_counts=True)[1]
        assert len(split) == sum(-(-length // 2) for length in lengths)


def test_unknown_views_make_one_sequence_of_an_assumed_size(
    tmp_path: Path, samples: dict[str, Sample], dataset: PoseDataset
) -> None:
    anonymous = {n: {k: v for k, v in s.items() if "key" in k} for n, s in samples.items()}
    data = load_dataset(H3WB, write_json(tmp_path / "anonymous", anonymous))
    assert [len(np.unique(split.sequence)) for split in data.splits.values()] == [1, 1, 1]
    assert {(info.size, info.camera) for info in data.sequences} == {((1000, 1000), None)}
    test = data.splits["test"]
    assert len(test) == 4 * -(-len(samples) // 4 // 5)  # views are told by their bodies
    np.testing.assert_array_equal(test.frame, np.arange(len(test)))
    assert any("304 of 304 samples have no image_path" in note for note in data.notes)


def test_root_relative_3d_has_no_root(tmp_path: Path, bodies: Actions) -> None:
    content = npz_actions(bodies)
    for actions in content.values():
        for fields in actions.values():
            for view in fields.values():
                if isinstance(view, dict):
                    del view["camera_3d"]
    data = load_dataset(H3WB, write_npz(tmp_path / "relative", content))
    assert {split.root is None for split in data.splits.values()} == {True}
    assert "the 3D does not say where in the camera's frame poses are" in data.notes


def test_the_npz_is_read_where_both_are(npz_folder: Path, samples: dict[str, Sample]) -> None:
    alone = load_h3wb(H3WB, npz_folder)
    write_json(npz_folder, {"not": "read"})
    both = load_h3wb(H3WB, npz_folder)
    assert both.content_hash() == alone.content_hash()
    assert "h3wb_train.npz is read, 2Dto3D_train.json beside it is not" in both.notes
    assert set(h3wb_files(H3WB, npz_folder)) >= set(npz_folder.iterdir())


def write_folds(folder: Path, folds: object) -> None:
    (folder / "folds.json").write_text(json.dumps(folds))


def five_lists() -> list[list[Any]]:
    return [[str(n) for n in range(0, 300, 15) if n // 15 % 5 == fold] for fold in range(5)]


def test_a_file_of_folds_decides(few: Path, samples: dict[str, Sample]) -> None:
    folds: list[list[Any]] = five_lists()
    testing = list(folds[2])
    folds[2] = [int(name) for name in reversed(testing)]  # numbers will do, in any order
    write_folds(few, folds)
    data = load_h3wb(with_fold(2), few)
    pixels = 500 * (data.splits["test"].x[:, 0, 0].astype(np.float64) + 1)
    expected = sorted(samples[name]["keypoints_2d"]["0"]["x"] for name in testing)
    np.testing.assert_allclose(np.sort(pixels), expected, atol=1e-3)
    assert "the five folds are those of folds.json" in data.notes


def test_folds_that_tear_moments_apart_are_noted(
    samples: dict[str, Sample], tmp_path: Path
) -> None:
    folder = write_json(tmp_path / "torn", {n: samples[n] for n in map(str, range(80))})
    folds = [[str(n) for n in range(80) if n * 5 // 80 == fold] for fold in range(5)]
    write_folds(folder, folds)
    assert not any("tears" in note for note in load_h3wb(with_fold(1), folder).notes)
    folds[1][0], folds[0][0] = folds[0][0], folds[1][0]  # views of two moments
    folds[4][-1], folds[3][0] = folds[3][0], folds[4][-1]  # of two that train or validate
    write_folds(folder, folds)
    data = load_h3wb(with_fold(1), folder)
    (note,) = (note for note in data.notes if "tears" in note)
    assert note.startswith("2 moments have views in fold 1, which tests, and in others")
    found = moments_of(data)
    assert not set(found["train"]) & set(found["val"])
    assert len(set(found["train"]) & set(found["test"])) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f[0].append("16"), r"fold 0 names '16', which is no sample"),
        (lambda f: f[0].append("15"), r"sample '15' is in fold 0 and again in fold 1"),
        (lambda f: f[0].append("0"), r"sample '0' is in fold 0 and again in fold 0"),
        (lambda f: f[3].remove("45"), r"1 samples are in no fold: 45; expected every sample once"),
        (lambda f: f.pop(), r"expected a list of 5 lists of sample ids"),
        (lambda f: f.__setitem__(4, {}), r"expected a list of 5 lists of sample ids"),
        (lambda f: f[0].append(None), r"holds a NoneType among the sample ids"),
        (lambda f: f[0].append(True), r"holds a bool among the sample ids"),
    ],
)
def test_refuses_folds_that_do_not_fit(
    few: Path, change: Callable[[list[list[Any]]], object], message: str
) -> None:
    folds = five_lists()
    change(folds)
    write_folds(few, folds)
    with pytest.raises(DataError, match=rf"folds\.json: .*{message}"):
        load_h3wb(H3WB, few)


def test_refuses_folds_that_cannot_be_read(few: Path, npz_folder: Path) -> None:
    for text in ("", "[" * 100_000, "{}x"):
        (few / "folds.json").write_text(text)
        with pytest.raises(DataError, match=r"folds\.json: no readable JSON"):
            load_h3wb(H3WB, few)
    (few / "folds.json").unlink()
    (few / "folds.json").symlink_to("/etc/hostname")
    with pytest.raises(UnsafeDataError, match=r"folds\.json: is a link to"):
        load_h3wb(H3WB, few)
    write_folds(npz_folder, five_lists())
    with pytest.raises(DataError, match=r"names samples by their id, but the npz form has no ids"):
        load_h3wb(H3WB, npz_folder)


def test_refuses_too_few_samples(tmp_path: Path, samples: dict[str, Sample]) -> None:
    four = write_json(tmp_path / "four", {n: samples[n] for n in map(str, range(4))})
    with pytest.raises(DataError, match=r"1 moments cannot be cut into 5 folds"):
        load_h3wb(H3WB, four)
    with pytest.raises(DataError, match=r"6 samples are too few: fold 0 leaves splits of 4, 0, 2"):
        split_samples(np.asarray([0, 0, 1, 2, 3, 4]), np.arange(6), 0)
    with pytest.raises(DataError, match=r"fold 0 leaves splits of 0, 8, 1"):  # of one moment
        split_samples(np.asarray([0, *[1] * 8]), np.asarray([0, *[1] * 8]), 0)


def test_refuses_missing_files_and_links_out(tmp_path: Path, json_folder: Path) -> None:
    with pytest.raises(DataError, match=r"data set 'h3wb' needs a data folder; get 2Dto3D_train"):
        load_h3wb(H3WB, None)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"looked for 2Dto3D_train\.json, found an empty folder"):
        load_h3wb(H3WB, empty)
    for name in ("2Dto3D_train.json", "h3wb_train.npz"):
        (empty / name).symlink_to(json_folder / "2Dto3D_train.json")
        with pytest.raises(UnsafeDataError, match=rf"{name}: is a link to .*, outside of"):
            load_h3wb(H3WB, empty)


def changed(samples: dict[str, Sample], change: Callable[[np.ndarray], np.ndarray]) -> Any:
    result = copy.deepcopy({n: samples[n] for n in map(str, range(0, 300, 3))})
    for sample in result.values():
        joints = sample["keypoints_3d"]
        points = np.asarray([[joints[str(j)][axis] for axis in "xyz"] for j in range(133)])
        for joint, point in enumerate(change(points).tolist()):
            joints[str(joint)] = dict(zip("xyz", point, strict=True))
    return result


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p / 1000, r"the thigh measures 0\.000\d+, expected 0\.2 to 0\.8 metres"),
        (lambda p: p * [-1, 1, 1], r"of the bent knees bend backward"),
        (lambda p: p[list(H3WB_133.mirrored)], r"of the bent knees bend backward"),
        (lambda p: p[::-1], r"the thigh measures"),
    ],
    ids=["metres", "a mirrored axis", "exchanged sides", "another order"],
)
def test_refuses_what_cannot_be_right(
    tmp_path: Path,
    samples: dict[str, Sample],
    change: Callable[[np.ndarray], np.ndarray],
    message: str,
) -> None:
    folder = write_json(tmp_path / "wrong", changed(samples, change))
    with pytest.raises(DataError, match=message):
        load_dataset(H3WB, folder)
