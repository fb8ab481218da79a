"""Which sequences of Human3.6M train, validate and test."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from trainables.errors import DataError

__all__ = ["TEST_SUBJECTS", "TRAIN_SUBJECTS", "assign_splits", "natural_key"]

TRAIN_SUBJECTS = ("S1", "S5", "S6", "S7", "S8")
TEST_SUBJECTS = ("S9", "S11")
HELD_OUT_FRACTION = 0.2
MIN_RECORDINGS = 2

SequenceKey = tuple[str, str]
"""Subject and action."""


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key by which `walking 2` comes before `walking 10`."""
    parts = re.findall(r"\d+|\D+", text)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def assign_splits(
    keys: Iterable[SequenceKey], sources: Mapping[SequenceKey, str]
) -> tuple[dict[SequenceKey, str], str]:
    """Assign each sequence to `train`, `val` or `test`.

    Test is S9 and S11, as everywhere. Validation comes out of the training subjects: whole
    recordings where their names are known, since one recording may drive several bodies; else a
    whole subject (S8, or the last there is).

    Args:
        keys: All sequences, as (subject, action).
        sources: The recording behind each, where known.

    Returns:
        Split names by sequence, and a sentence on how validation was chosen.

    Raises:
        DataError: No validation or test sequences can be found.
    """
    ordered = sorted(keys, key=lambda key: (natural_key(key[0]), natural_key(key[1])))
    splits = {key: "test" if key[0] in TEST_SUBJECTS else "train" for key in ordered}
    training = [key for key in ordered if splits[key] == "train"]
    held_out: set[str] = set()
    if training and all(key in sources for key in training):
        held_out = held_out_recordings({sources[key] for key in training})
    if held_out:
        validation = [key for key in training if sources[key] in held_out]
        note = f"validation: {len(held_out)} recordings of the training subjects, on every body"
    else:
        subjects = sorted({key[0] for key in training}, key=natural_key)
        if len(subjects) < 2:
            raise DataError(
                f"found the training subjects {subjects}, expected two or more of "
                f"{', '.join(TRAIN_SUBJECTS)}, one of which validates"
            )
        validation = [key for key in training if key[0] == subjects[-1]]
        note = f"validation: subject {subjects[-1]}, held out as a whole"
    splits.update(dict.fromkeys(validation, "val"))
    if "test" not in splits.values():
        raise DataError(f"found no test subject, expected {' or '.join(TEST_SUBJECTS)}")
    return splits, note


def held_out_recordings(sources: Iterable[str]) -> set[str]:
    """Every fifth or so recording of each kind; a kind of only one trains.

    The kind of a recording is its name up to the last slash (`train/walking/walking_4`).
    """
    kinds: dict[str, list[str]] = defaultdict(list)
    for source in set(sources):
        kinds[source.rpartition("/")[0]].append(source)
    held_out: set[str] = set()
    for members in kinds.values():
        members.sort(key=natural_key)
        if len(members) >= MIN_RECORDINGS:
            count = max(1, round(HELD_OUT_FRACTION * len(members)))
            step = len(members) / count
            held_out.update(members[int(step * (index + 0.5))] for index in range(count))
    return held_out
