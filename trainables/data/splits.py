"""Which sequences train, validate and test."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from trainables.config import NOBODY
from trainables.errors import DataError
from trainables.names import first_few, natural_key

__all__ = [
    "SPLIT_NAMES",
    "SequenceKey",
    "assign_splits",
    "base_action",
    "held_out_recordings",
    "hold_out_validation",
    "splits_in_use",
]

SPLIT_NAMES = ("train", "val", "test")

HELD_OUT_FRACTION = 0.2
MIN_RECORDINGS = 2

SequenceKey = tuple[str, str]
"""Subject and action."""


def base_action(action: str) -> str:
    """An action without the number of its take: `walking 1` is `walking`."""
    return re.sub(r" \d+$", "", action)


def assign_splits(
    keys: Iterable[SequenceKey],
    sources: Mapping[SequenceKey, str],
    *,
    test_subjects: Collection[str],
    val_subject: str | None = None,
) -> tuple[dict[SequenceKey, str], str]:
    """Assign each sequence to `train`, `val` or `test`.

    Validation comes out of the training subjects. Where nobody names a subject: whole recordings
    if their names are known, since one recording may drive several bodies; else the last
    subject, and recordings may be in two splits unnoticed.

    Args:
        keys: All sequences, as (subject, action).
        sources: The recording behind each; empty if none is known.
        test_subjects: Whose sequences test.
        val_subject: Training subject that validates; None for the rule above; `none` for
            nobody. Sequences of the other training subjects that share a recording with it are
            left out.

    Returns:
        Split names by sequence, and a sentence on how validation was chosen.

    Raises:
        DataError: No training, validation or test sequences can be found, or the recording
            behind some sequences is known and behind others not.
    """
    ordered = sorted(keys, key=lambda key: (natural_key(key[0]), natural_key(key[1])))
    splits = {key: "test" if key[0] in test_subjects else "train" for key in ordered}
    training = [key for key in ordered if splits[key] == "train"]
    if sources:
        _require_sources(ordered, sources)
    held_out, note = hold_out_validation(training, sources, val_subject=val_subject)
    if "test" not in splits.values():
        raise DataError(f"found no test subject, expected {' or '.join(test_subjects)}")
    assigned = held_out | {key: name for key, name in splits.items() if name == "test"}
    return {key: assigned[key] for key in ordered if key in assigned}, note


def splits_in_use(assigned: Collection[str]) -> tuple[str, ...]:
    """Those of `train`, `val` and `test` that have sequences, in this order."""
    return tuple(name for name in SPLIT_NAMES if name in assigned)


def hold_out_validation(
    training: Sequence[SequenceKey],
    sources: Mapping[SequenceKey, str],
    *,
    val_subject: str | None = None,
) -> tuple[dict[SequenceKey, str], str]:
    """Take validation out of training sequences, by the rule of `assign_splits`.

    Args:
        training: The sequences, as (subject, action), in order.
        sources: The recording behind each; empty if none is known.
        val_subject: Subject that validates; None for the rule; `none` for nobody.

    Returns:
        `train` or `val` by sequence, without those left out, and a sentence on how validation
        was chosen.

    Raises:
        DataError: No training or validation sequences are left.
    """
    if val_subject == NOBODY:
        return dict.fromkeys(training, "train"), "validation: nobody; all training subjects train"
    if val_subject is None and sources:
        validation, note = _recordings_for_validation(list(training), sources)
    else:
        validation, note = _subject_for_validation(
            list(training), val_subject, known=bool(sources)
        )
    splits = {key: "train" for key in training}
    splits.update(dict.fromkeys(validation, "val"))
    shared = [
        key
        for key in training
        if splits[key] == "train"
        and key in sources
        and sources[key] in {sources[other] for other in validation}
    ]
    for key in shared:
        del splits[key]
    if "train" not in splits.values():
        raise DataError(
            f"val_subject={val_subject!r} shares its recordings with all training sequences; "
            "choose another, or leave it out to hold out whole recordings"
        )
    if shared:
        note += f"; {len(shared)} sequences of others show the same recordings and are left out"
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


def _subject_for_validation(
    training: list[SequenceKey], wanted: str | None, *, known: bool
) -> tuple[list[SequenceKey], str]:
    """All sequences of one training subject, the last unless one is named, and a note."""
    subjects = sorted({key[0] for key in training}, key=natural_key)
    if len(subjects) < 2:
        raise DataError(
            f"found the training subjects {subjects}, expected two or more, one of which validates"
        )
    if wanted is not None and wanted not in subjects:
        raise DataError(
            f"val_subject={wanted!r} is no training subject; found {', '.join(subjects)}"
        )
    chosen = wanted or subjects[-1]
    note = f"validation: subject {chosen}, held out as a whole"
    if not known:
        note += (
            "; no table names the recordings behind the sequences, so one that drives bodies of "
            "two splits would not be noticed"
        )
    return [key for key in training if key[0] == chosen], note


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
