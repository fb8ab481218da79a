"""Which sequences of Human3.6M train, validate and test."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from trainables.data.names import first_few, natural_key
from trainables.errors import DataError

__all__ = ["TEST_SUBJECTS", "TRAIN_SUBJECTS", "assign_splits", "base_action"]

TRAIN_SUBJECTS = ("S1", "S5", "S6", "S7", "S8")
TEST_SUBJECTS = ("S9", "S11")
HELD_OUT_FRACTION = 0.2
MIN_RECORDINGS = 2

SequenceKey = tuple[str, str]
"""Subject and action."""


def base_action(action: str) -> str:
    """An action without the number of its take: `walking 1` is `walking`."""
    return re.sub(r" \d+$", "", action)


def assign_splits(
    keys: Iterable[SequenceKey], sources: Mapping[SequenceKey, str]
) -> tuple[dict[SequenceKey, str], str]:
    """Assign each sequence to `train`, `val` or `test`.

    Test is S9 and S11, as everywhere. Validation comes out of the training subjects: whole
    recordings where their names are known, since one recording may drive several bodies; else a
    whole subject (S8, or the last there is), and recordings may be in two splits unnoticed.

    Args:
        keys: All sequences, as (subject, action).
        sources: The recording behind each; empty if none is known.

    Returns:
        Split names by sequence, and a sentence on how validation was chosen.

    Raises:
        DataError: No validation or test sequences can be found, or the recording behind some
            sequences is known and behind others not.
    """
    ordered = sorted(keys, key=lambda key: (natural_key(key[0]), natural_key(key[1])))
    splits = {key: "test" if key[0] in TEST_SUBJECTS else "train" for key in ordered}
    training = [key for key in ordered if splits[key] == "train"]
    if sources:
        _require_sources(ordered, sources)
        validation, note = _recordings_for_validation(training, sources)
    else:
        validation, note = _subject_for_validation(training)
    splits.update(dict.fromkeys(validation, "val"))
    if "test" not in splits.values():
        raise DataError(f"found no test subject, expected {' or '.join(TEST_SUBJECTS)}")
    return splits, note


def _require_sources(keys: list[SequenceKey], sources: Mapping[SequenceKey, str]) -> None:
    """Without its recording, a sequence might train on what another validates or tests."""
    missing = [f"{key[0]} {key[1]!r}" for key in keys if key not in sources]
    if missing:
        raise DataError(
            f"sequences.csv has no row for {len(missing)} of {len(keys)} sequences: "
            f"{first_few(missing)}; expected the source of each; add the rows, or remove the "
            "file to validate on a subject"
        )


def _recordings_for_validation(
    training: list[SequenceKey], sources: Mapping[SequenceKey, str]
) -> tuple[list[SequenceKey], str]:
    """All sequences of the held-out recordings, and a note."""
    held_out = held_out_recordings({sources[key] for key in training})
    if not held_out:
        found = sorted({sources[key] for key in training})
        raise DataError(
            f"the training subjects' sequences are of the recordings {found}, expected two or "
            "more, one of which validates"
        )
    validation = [key for key in training if sources[key] in held_out]
    return validation, (
        f"validation: {len(held_out)} recordings of the training subjects, on every body"
    )


def _subject_for_validation(training: list[SequenceKey]) -> tuple[list[SequenceKey], str]:
    """All sequences of the last training subject, and a note."""
    subjects = sorted({key[0] for key in training}, key=natural_key)
    if len(subjects) < 2:
        raise DataError(
            f"found the training subjects {subjects}, expected two or more of "
            f"{', '.join(TRAIN_SUBJECTS)}, one of which validates"
        )
    validation = [key for key in training if key[0] == subjects[-1]]
    return validation, (
        f"validation: subject {subjects[-1]}, held out as a whole; no table names the recordings "
        "behind the sequences, so one that drives bodies of two splits would not be noticed"
    )


def held_out_recordings(sources: Iterable[str]) -> set[str]:
    """Every fifth or so recording of each kind; a kind of only one trains.

    The kind of a recording is its name up to the last slash (`train/walking/walking_4`). Where
    no kind has two, they are taken for one kind; a single recording is not held out.
    """
    kinds: dict[str, list[str]] = defaultdict(list)
    for source in set(sources):
        kinds[source.rpartition("/")[0]].append(source)
    if all(len(members) < MIN_RECORDINGS for members in kinds.values()):
        kinds = defaultdict(
            list, {"": [source for members in kinds.values() for source in members]}
        )
    held_out: set[str] = set()
    for members in kinds.values():
        members.sort(key=natural_key)
        if len(members) >= MIN_RECORDINGS:
            count = max(1, round(HELD_OUT_FRACTION * len(members)))
            step = len(members) / count
            held_out.update(members[int(step * (index + 0.5))] for index in range(count))
    return held_out
