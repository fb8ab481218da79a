"""What a person should know of the data before figures measured on them are believed."""

from __future__ import annotations

import numpy as np

from trainables.config import FIELDS_OF_DATA_SETS, NOBODY, TrainingConfig
from trainables.data.dataset import PoseDataset

__all__ = ["data_notes"]

SHOWN_NOTES = 20


def data_notes(dataset: PoseDataset, training: TrainingConfig) -> tuple[str, ...]:
    """The loader's notes, the first ones of many, led by who is held out for nothing.

    Args:
        dataset: The data.
        training: What is trained on them.
    """
    notes = list(dataset.notes[:SHOWN_NOTES])
    more = len(dataset.notes) - len(notes)
    if more > 0:
        notes.append(f"{more} more notes on the data: `tuner data inspect` shows them")
    return (*_held_out(dataset, training), *_hypotheses(training), *notes)


def _hypotheses(training: TrainingConfig) -> tuple[str, ...]:
    """Of how many hypotheses test figures are, which fall with their number."""
    if training.test_hypotheses == 1:
        return ()
    return (
        f"test figures are of the mean of {training.test_hypotheses} hypotheses (iterations of "
        f"the sampler: {training.test_iterations}); J-Best and P-Best look at the ground truth",
    )


def _held_out(dataset: PoseDataset, training: TrainingConfig) -> tuple[str, ...]:
    """Chosen on test, validation data are of no use, and the paper trains on them."""
    can_be_had = training.data.name in FIELDS_OF_DATA_SETS["val_subject"]
    if training.select_on != "test" or "val" not in dataset.splits or not can_be_had:
        return ()
    trained, held_out = _subjects(dataset, "train"), _subjects(dataset, "val")
    if trained & held_out:
        share = len(dataset.splits["val"]) / sum(len(dataset.splits[n]) for n in ("train", "val"))
        who = f"{share:.0%} of the training subjects' poses are"
    else:
        who = f"{', '.join(sorted(held_out))} {'is' if len(held_out) == 1 else 'are'}"
    return (f"{who} held out of training; the paper trains on all: data.val_subject={NOBODY}",)


def _subjects(dataset: PoseDataset, split: str) -> set[str]:
    numbers = np.unique(dataset.splits[split].sequence).tolist()
    return {dataset.sequences[number].subject for number in numbers}
