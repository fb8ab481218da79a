"""Which calibration the cameras of MPI-INF-3DHP's files have, and how well it fits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trainables.data.dataset import Camera
from trainables.data.mpi_inf_3dhp.cameras import (
    CAMERAS_FILE,
    PUBLISHED_TEST_CAMERAS,
    TEST_VIEW,
    CameraKey,
    read_cameras,
    reprojection_px,
)
from trainables.data.mpi_inf_3dhp.views import View
from trainables.names import first_few

__all__ = ["calibration"]

MAX_MEDIAN_PX: Mapping[str, float] = {"univ_annot3": 15.0, "annot3": 2.0}
"""By annotation; beyond, the calibration belongs to other images. `univ_annot3` is rescaled to
another body size about the pelvis, so that it misses the image even with the right one."""
NOTED_PX = 1.0


def calibration(
    folder: Path, views: Mapping[CameraKey, View], annotation: str, notes: list[str]
) -> dict[CameraKey, Camera]:
    """The cameras of `cameras_3dhp.json`; without it the published ones of the test set.

    The published ones are taken for all test sequences or for none: where one does not fit, the
    others were not filmed with these cameras either.

    Args:
        folder: The data folder.
        views: All views, by subject and camera.
        annotation: Which 3D of the test sequences was read.
        notes: Takes what was found.

    Returns:
        Cameras that are known.

    Raises:
        DataError: The file is malformed.
    """
    cameras = read_cameras(folder / CAMERAS_FILE)
    testing = {key[0]: view for key, view in views.items() if key[1] == TEST_VIEW}
    if not cameras:
        notes.append(
            f"no {CAMERAS_FILE}: the training cameras' calibration is unknown, and 2D cannot be "
            "compared with projected 3D there"
        )
        return _published_cameras(testing, annotation, notes)
    uncalibrated = [" ".join(key) for key in views if key not in cameras]
    if uncalibrated:
        notes.append(f"{CAMERAS_FILE} lacks {first_few(uncalibrated)}; calibration unknown")
    for subject, view in testing.items():
        camera = cameras.get((subject, TEST_VIEW))
        median_px = 0.0 if camera is None else reprojection_px(view, camera)
        if median_px > NOTED_PX:
            reason = _reason(median_px, annotation, f"{CAMERAS_FILE} is of other images")
            notes.append(
                f"{subject}: the 2D lie {median_px:.1f} px (median) off the projected 3D "
                f"({annotation}); {reason}"
            )
    return cameras


def _published_cameras(
    testing: Mapping[str, View], annotation: str, notes: list[str]
) -> dict[CameraKey, Camera]:
    """The published cameras of all test sequences if all fit them, else none."""
    medians_px = {
        subject: reprojection_px(view, PUBLISHED_TEST_CAMERAS[subject])
        for subject, view in testing.items()
    }
    worst = max(medians_px, key=lambda subject: medians_px[subject])
    median_px = medians_px[worst]
    if median_px > NOTED_PX:
        reason = _reason(
            median_px,
            annotation,
            "the published calibration is of other images, so that of all test sequences is "
            "unknown",
        )
        notes.append(
            f"test: the 2D lie up to {median_px:.1f} px (median of {worst}) off the 3D "
            f"({annotation}) projected by the published calibration; {reason}"
        )
    if median_px > MAX_MEDIAN_PX[annotation]:
        return {}
    return {(subject, TEST_VIEW): PUBLISHED_TEST_CAMERAS[subject] for subject in testing}


def _reason(median_px: float, annotation: str, otherwise: str) -> str:
    """Why 2D and projected 3D are apart."""
    limit_px = MAX_MEDIAN_PX[annotation]
    if median_px > limit_px:
        return f"expected at most {limit_px:g} px: {otherwise}"
    if annotation == "univ_annot3":
        return "univ_annot3, rescaled to another body size, does not reproject exactly"
    return "annot3 is of true size, so that annotation and calibration are as good as this"
