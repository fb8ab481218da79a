"""MPI-INF-3DHP: 17 joints, camera frame, relative to the pelvis (joint 14), metres."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trainables.config import DataConfig
from trainables.data.assembly import SplitBuilder
from trainables.data.dataset import Camera, PoseDataset, PoseSplit, SequenceInfo
from trainables.data.mpi_inf_3dhp.calibration import calibration
from trainables.data.mpi_inf_3dhp.cameras import CAMERAS_FILE, TEST_VIEW, CameraKey, image_size
from trainables.data.mpi_inf_3dhp.files import (
    TEST_SUBJECTS,
    TRAINING_SUBJECTS,
    TrainingSequence,
    read_test_npz,
    read_training_npz,
)
from trainables.data.mpi_inf_3dhp.matlab import annotation_paths, read_annotations
from trainables.data.mpi_inf_3dhp.views import View
from trainables.data.recordings import RecordingRow, read_recordings_by_sequence
from trainables.data.source_files import find_files, require_folder
from trainables.data.splits import SequenceKey, assign_splits, splits_in_use
from trainables.errors import DataError
from trainables.names import first_few, natural_key
from trainables.skeletons import MPI_INF_3DHP_17

__all__ = ["load_mpi_inf_3dhp", "mpi_inf_3dhp_files"]

TRAINING_FILE = "data_train_3dhp.npz"
TEST_FILE = "data_test_3dhp.npz"
SEQUENCES_FILE = "sequences.csv"
DEFAULT_TEST_FPS = 25.0
HOW_TO_GET = (
    "make the files with P-STMO's data_to_npz_3dhp.py scripts from MPI-INF-3DHP (docs/data.md), "
    "and name their folder with --data-dir"
)


@dataclass(frozen=True)
class _Sequence:
    """A sequence with all its views and what is known of it."""

    views: Mapping[str, View]
    fps: float
    row: RecordingRow
    name: str


@dataclass(frozen=True)
class _Source:
    """All that was read."""

    sequences: Mapping[SequenceKey, _Sequence]
    cameras: Mapping[CameraKey, Camera]
    notes: list[str] = field(default_factory=list)


def mpi_inf_3dhp_files(config: DataConfig, folder: Path) -> tuple[Path, ...]:
    """The files that `load_mpi_inf_3dhp` may read; all but the first are optional."""
    names = (TRAINING_FILE, TEST_FILE, SEQUENCES_FILE, CAMERAS_FILE)
    annotations = (path for paths in annotation_paths(folder).values() for path in paths)
    return (*(folder / name for name in names), *annotations)


def load_mpi_inf_3dhp(config: DataConfig, data_dir: Path | None) -> PoseDataset:
    """Load MPI-INF-3DHP, or a set in its format.

    The 3D are taken as they are, in each camera's frame; 2D are normalised by the image width
    (2048 x 2048; TS5 and TS6 1920 x 1080); frames are thinned by the configuration's stride.

    Args:
        config: Annotation, validation subject, and stride.
        data_dir: Folder with `data_train_3dhp.npz`, and with `data_test_3dhp.npz` or the
            official `TSk/annot_data.mat`.

    Returns:
        The data set; frames of the test sequences that are not valid are not scored.

    Raises:
        DataError: Files are missing or malformed.
        UnsafeDataError: A file asks for code to be run, or leads out of the folder.
    """
    folder = require_folder(data_dir, dataset="mpi_inf_3dhp", cure=HOW_TO_GET)
    source = _read(config, folder)
    known = {key: item.row.source for key, item in source.sequences.items() if item.row.source}
    assigned, note = assign_splits(
        source.sequences, known, test_subjects=TEST_SUBJECTS, val_subject=config.val_subject
    )
    notes = [*source.notes, note]
    sequences: list[SequenceInfo] = []
    splits: dict[str, PoseSplit] = {}
    for split in splits_in_use(assigned.values()):
        builder = SplitBuilder(
            first_sequence=len(sequences), stride=config.stride, skeleton=MPI_INF_3DHP_17
        )
        for key in (key for key, name in assigned.items() if name == split):
            _add_views(builder, source, key, config.stride)
        sequences.extend(builder.sequences)
        splits[split] = builder.build()
    return PoseDataset("mpi_inf_3dhp", MPI_INF_3DHP_17, tuple(sequences), splits, tuple(notes))


def _read(config: DataConfig, folder: Path) -> _Source:
    """Read everything of the folder that the configuration asks for."""
    notes: list[str] = []
    (training_path,) = find_files(folder, (TRAINING_FILE,), cure=HOW_TO_GET)
    test_views = _test_views(config, folder, notes)
    training = read_training_npz(training_path, notes)
    _note_gaps(training, notes)
    table = folder / SEQUENCES_FILE
    rows = read_recordings_by_sequence(table)
    if rows:
        notes.append(f"{SEQUENCES_FILE} names the recording behind each sequence")
    unknown = RecordingRow(None, None)
    sequences: dict[SequenceKey, _Sequence] = {}
    for name, entry in training.items():
        subject, action = name.split(" ")
        row = rows.get(name, unknown)
        sequences[subject, action] = _Sequence(entry.views, row.fps or entry.fps, row, name)
    test_fps = _test_frame_rate({entry.fps for entry in training.values()}, notes)
    for name, view in test_views.items():
        row = rows.get(name, unknown)
        sequences[name, name] = _Sequence({TEST_VIEW: view}, row.fps or test_fps, row, name)
    views = {
        (subject, camera): view
        for (subject, _), sequence in sequences.items()
        for camera, view in sequence.views.items()
    }
    return _Source(sequences, calibration(folder, views, config.annotation, notes), notes)


def _note_gaps(training: Mapping[str, TrainingSequence], notes: list[str]) -> None:
    """Say what the published training set has and these files have not."""
    subjects = {name.split(" ")[0] for name in training}
    incomparable = "figures cannot be compared with published ones"
    if missing := [subject for subject in TRAINING_SUBJECTS if subject not in subjects]:
        notes.append(f"train: {', '.join(missing)} are not in the files; {incomparable}")
    cameras = {camera for entry in training.values() for camera in entry.views}
    lacking = sorted(
        (name for name, entry in training.items() if set(entry.views) != cameras), key=natural_key
    )
    if lacking:
        notes.append(
            f"train: {len(lacking)} of {len(training)} sequences lack some of the cameras "
            f"{', '.join(sorted(cameras, key=natural_key))}: {first_few(lacking)}; {incomparable}"
        )


def _test_views(config: DataConfig, folder: Path, notes: list[str]) -> dict[str, View]:
    """The test sequences, from the npz file or the MATLAB files."""
    if config.annotation == "univ_annot3" and os.path.lexists(folder / TEST_FILE):
        find_files(folder, (TEST_FILE,), cure=HOW_TO_GET)
        views = read_test_npz(folder / TEST_FILE, notes)
        notes.append(
            f"{TEST_FILE} does not say whether its 3D are univ_annot3 or annot3; P-STMO's "
            "published files hold univ_annot3"
        )
    else:
        views = read_annotations(folder, config.annotation, notes)
        if not views:
            raise DataError(_no_test_data(config, folder))
        notes.append(
            f"test: {config.annotation} of annot_data.mat; {TRAINING_FILE} does not say which 3D "
            "it holds, and it should be the same"
        )
    missing = [subject for subject in TEST_SUBJECTS if subject not in views]
    if missing:
        notes.append(
            f"test: {', '.join(missing)} missing; figures cannot be compared with published ones"
        )
    return views


def _no_test_data(config: DataConfig, folder: Path) -> str:
    """What to do when no file has the test sequences that are asked for."""
    present = first_few(sorted((path.name for path in folder.iterdir()), key=natural_key))
    if config.annotation == "annot3":
        return (
            f"{folder}: annotation='annot3' needs the official TS1/annot_data.mat to "
            f"TS6/annot_data.mat, found {present}; put the folders TS1 to TS6 there, or leave "
            "annotation out"
        )
    return (
        f"{folder}: looked for {TEST_FILE} and for TS1/annot_data.mat to TS6/annot_data.mat, "
        f"found {present}; {HOW_TO_GET}"
    )


def _test_frame_rate(training: set[float], notes: list[str]) -> float:
    """The test files record no frame rate: that of all training sequences, else 25."""
    fps = next(iter(training)) if len(training) == 1 else DEFAULT_TEST_FPS
    notes.append(f"test: the files record no frame rate, {fps:g} per second are assumed")
    return fps


def _add_views(builder: SplitBuilder, source: _Source, key: SequenceKey, stride: int) -> None:
    """Add one sequence as each of its cameras sees it."""
    subject, action = key
    sequence = source.sequences[key]
    for name in sorted(sequence.views, key=natural_key):
        view = sequence.views[name]
        camera = source.cameras.get((subject, name))
        info = SequenceInfo(
            subject=subject,
            action=action,
            base_action=sequence.row.action or sequence.name,
            view=name,
            source=sequence.row.source,
            fps=sequence.fps / stride,
            camera=camera,
            image_size=image_size(subject) if camera is None else None,
        )
        points_m = view.points_mm.astype(np.float64) / 1000.0
        builder.add(info, points_m, view.pixels, valid=view.valid)
