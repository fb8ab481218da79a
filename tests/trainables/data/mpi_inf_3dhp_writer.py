"""Writes MPI-INF-3DHP's files from the bundled motion, for the tests of its loader."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from trainables.data.cameras import project
from trainables.data.dataset import Camera
from trainables.data.mpi_inf_3dhp.cameras import image_size
from trainables.data.sample.bodies import draw_body, joint_positions
from trainables.data.sample.clips import read_clips, resample

FROM_H36M = (10, 8, 14, 15, 16, 11, 12, 13, 1, 2, 3, 4, 5, 6, 0, 7, 9)
"""Index in Human3.6M's order of each of the 17 joints."""
MOTIONS = ("walk", "jump")
TRAINING_SUBJECTS = ("S1", "S2", "S3")
TEST_SUBJECTS = ("TS1", "TS2", "TS3", "TS4", "TS5", "TS6")
CAMERA_NAMES = ("0", "8")
FPS = 25
Data = dict[str, Any]


def camera_of(subject: str, number: int = 0) -> Camera:
    """An invented camera without distortion."""
    width, height = image_size(subject)
    center = (width / 2 - 6.0, height / 2 + 12.0 + number)
    focal_px = 1500.0 if width == height else 1684.0
    return Camera(width, height, focal=(focal_px, focal_px - 2.0 + number), center=center)


def seen_mm(motion: str, seed: int, turn: float) -> np.ndarray:
    """Joints in a camera's frame, millimetres, (T, 17, 3), float32."""
    clips, offsets = read_clips()
    body = draw_body(str(seed), np.random.default_rng(seed))
    joints = joint_positions(resample(clips[motion], 10.0), body, offsets)[:, FROM_H36M]
    x, up, depth = np.moveaxis(joints, -1, 0)
    cosine, sine = np.cos(turn), np.sin(turn)
    seen = np.stack([cosine * x + sine * depth, -up + 0.9, sine * x - cosine * depth + 6], -1)
    return np.asarray(1000.0 * seen, np.float32)


def view(points_mm: np.ndarray, camera: Camera) -> dict[str, np.ndarray]:
    """What the npz files hold of one view; 2D is the exact projection."""
    pixels = project(points_mm.astype(np.float64) / 1000.0, camera)
    return {"data_3d": points_mm, "data_2d": pixels.astype(np.float32)}


def make_training() -> Data:
    """Three subjects with a sequence of each motion, seen by two cameras."""
    return {
        f"{subject} Seq{place + 1}": [
            {
                name: view(seen_mm(motion, seed, 0.3 + number), camera_of(subject, number))
                for number, name in enumerate(CAMERA_NAMES)
            },
            FPS,
        ]
        for seed, subject in enumerate(TRAINING_SUBJECTS)
        for place, motion in enumerate(MOTIONS)
    }


def make_test() -> Data:
    """Six sequences by one camera each; the first two frames of each are not valid."""
    data: Data = {}
    for number, subject in enumerate(TEST_SUBJECTS):
        entry = view(seen_mm("punch", 10 + number, 0.5 * number), camera_of(subject))
        valid = np.ones(len(entry["data_3d"]), np.uint8)
        valid[:2] = 0
        data[subject] = {**entry, "valid": valid}
    return data


def write_npz(folder: Path, training: Data | None, test: Data | None) -> Path:
    """Write the files that are given, as P-STMO's scripts do: pickled object arrays."""
    folder.mkdir(exist_ok=True)
    for name, data in (("train", training), ("test", test)):
        if data is not None:
            np.savez_compressed(folder / f"data_{name}_3dhp.npz", data=np.asarray(data, object))
    return folder


def write_annotations(folder: Path, test: Data, scale: float = 0.9554) -> None:
    """Write TSk/annot_data.mat as MATLAB does: user block, reversed axes, doubles, gzip.

    `univ_annot3` holds the 3D as given, `annot3` bodies of another size at the same pelvis.
    """
    for subject, entry in test.items():
        path = folder / subject / "annot_data.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        points = entry["data_3d"].astype(np.float64)[:, None]
        root = points[:, :, 14:15]
        with h5py.File(path, "w", userblock_size=512) as file:
            file["valid_frame"] = entry["valid"][:, None].astype(np.float64)
            file["activity_annotation"] = np.ones((len(points), 1))
            for name, array in (
                ("annot2", entry["data_2d"].astype(np.float64)[:, None]),
                ("univ_annot3", points),
                ("annot3", root + (points - root) / scale),
            ):
                file.create_dataset(
                    name, data=array, compression="gzip", shuffle=True, chunks=array.shape
                )
        with path.open("r+b") as stream:
            stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + b" " * 8)
            stream.write(b"\x00\x02IM")


def write_cameras(folder: Path) -> None:
    """Write cameras_3dhp.json of the invented cameras."""

    def described(camera: Camera) -> dict[str, list[float]]:
        return {
            "image_size": list(camera.size),
            "focal_px": list(camera.focal),
            "centre_px": list(camera.center),
        }

    content: dict[str, Any] = {
        subject: {
            name: described(camera_of(subject, number)) for number, name in enumerate(CAMERA_NAMES)
        }
        for subject in TRAINING_SUBJECTS
    }
    content |= {subject: described(camera_of(subject)) for subject in TEST_SUBJECTS}
    (folder / "cameras_3dhp.json").write_text(json.dumps(content))


def copied(data: Data) -> Data:
    """A deep copy, to damage."""
    return copy.deepcopy(data)
