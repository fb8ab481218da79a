"""The five folds of H3WB: which samples train, validate and test."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.data.h3wb.samples import Samples
from trainables.data.source_files import check_file
from trainables.errors import DataError
from trainables.names import first_few

__all__ = ["FOLDS", "FOLDS_FILE", "assign_folds", "split_samples"]

FOLDS = 5
FOLDS_FILE = "folds.json"
VALIDATION_SHARE = 8
"""One part in so many of the training folds validates."""
MAX_FILE_BYTES = 64 << 20


def assign_folds(samples: Samples, folder: Path) -> tuple[NDArray[np.intp], str]:
    """The fold of each sample, 0 to 4, and a sentence on where it comes from.

    Args:
        samples: All samples, in order.
        folder: The data folder; if there is a `folds.json`, a list of five lists of sample ids,
            it decides, else the folds are fifths of the moments in their order, so that views
            of one moment stay together.

    Returns:
        Folds, (N,), and a note.

    Raises:
        DataError: `folds.json` is malformed or does not name every sample once, or there are
            too few samples.
    """
    path = folder / FOLDS_FILE
    if os.path.lexists(path):
        return _folds_of_file(path, samples), f"the five folds are those of {FOLDS_FILE}"
    moments = int(samples.moment[-1]) + 1
    if moments < FOLDS:
        raise DataError(f"{folder}: {moments} moments cannot be cut into {FOLDS} folds")
    fold = samples.moment * FOLDS // moments
    return (
        fold,
        f"the five folds are fifths of the {moments} moments in their order ({FOLDS_FILE} is not "
        "there)",
    )


def split_samples(
    fold: NDArray[np.intp], moment: NDArray[np.intp], test: int
) -> tuple[dict[str, NDArray[np.intp]], list[str]]:
    """Positions of the samples of each split, ascending, and sentences on them.

    Args:
        fold: The fold of each sample, (N,).
        moment: The moment of each, (N,); training and validation never share one.
        test: Which fold tests.

    Returns:
        Positions by `train`, `val` and `test`, and notes.

    Raises:
        DataError: A split would have no samples.
    """
    training = np.flatnonzero(fold != test)
    # the last fold's moments last, in their order: a stretch, half of that fold if all are alike
    last_fold = np.zeros(int(moment.max()) + 1, np.intp)
    np.maximum.at(last_fold, moment[training], fold[training])
    training = training[np.lexsort((moment[training], last_fold[moment[training]]))]
    moments = moment[training]
    starts = np.flatnonzero(np.diff(moments, prepend=-1))
    wanted = len(training) - len(training) // VALIDATION_SHARE
    borders = np.append(starts, len(training))
    border = int(borders[np.searchsorted(borders, wanted, side="right") - 1])
    splits = {
        "train": np.sort(training[:border]),
        "val": np.sort(training[border:]),
        "test": np.flatnonzero(fold == test),
    }
    if not all(len(positions) for positions in splits.values()):
        raise DataError(
            f"{len(fold)} samples are too few: fold {test} leaves splits of "
            f"{', '.join(str(len(positions)) for positions in splits.values())} samples"
        )
    validating = sorted(set(fold[splits["val"]].tolist()))
    notes = [
        f"fold {test} tests; validation: the last eighth of the other four, which is the end of "
        f"fold {' and '.join(map(str, validating))}"
    ]
    torn = np.intersect1d(moments, moment[splits["test"]])
    if len(torn):
        notes.append(
            f"{len(torn)} moments have views in fold {test}, which tests, and in others, which "
            f"train: {FOLDS_FILE} tears them apart, so that bodies are tested that were trained on"
        )
    return splits, notes


def _folds_of_file(path: Path, samples: Samples) -> NDArray[np.intp]:
    if samples.ids is None:
        raise DataError(
            f"{path}: names samples by their id, but the npz form has no ids; remove {path.name}, "
            "or the npz file to use the JSON"
        )
    positions = {sample: position for position, sample in enumerate(samples.ids)}
    fold = np.full(len(samples), -1)
    for number, names in enumerate(_lists(path)):
        for name in names:
            position = positions.get(name)
            if position is None:
                raise DataError(f"{path}: fold {number} names {name[:60]!r}, which is no sample")
            if fold[position] >= 0:
                raise DataError(
                    f"{path}: sample {name!r} is in fold {fold[position]} and again in fold "
                    f"{number}; expected every sample once"
                )
            fold[position] = number
    if (fold < 0).any():
        missing = [samples.ids[position] for position in np.flatnonzero(fold < 0)]
        raise DataError(
            f"{path}: {len(missing)} samples are in no fold: {first_few(missing)}; expected every "
            "sample once"
        )
    return fold


def _lists(path: Path) -> list[list[str]]:
    """Five lists of ids, as text."""
    check_file(path, path.parent)
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise DataError(f"{path}: {size} bytes, expected less than {MAX_FILE_BYTES}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: no readable JSON ({error})") from error
    fits = isinstance(value, list) and len(value) == FOLDS
    if not fits or not all(isinstance(names, list) for names in value):
        raise DataError(f"{path}: expected a list of {FOLDS} lists of sample ids")
    wrong = [name for names in value for name in names if type(name) not in (str, int)]
    if wrong:
        raise DataError(
            f"{path}: holds a {type(wrong[0]).__name__} among the sample ids, expected text"
        )
    return [[str(name) for name in names] for names in value]
