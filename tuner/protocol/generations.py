"""Which of a stage's studies is the one that counts (pure).

A stage is tuned for what the stages before it kept. When one of those is extended and another
value wins, the stage's study answers a question that is no longer asked: the next generation of
it is opened, `<run>/2-lr_l~2`, and the older one stays as history.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from tuner.records import StudyHistory

__all__ = [
    "AROUND",
    "CHECK_STAGE",
    "CONFIRM_STAGE",
    "EXTENSIONS",
    "current_studies",
    "is_closed",
    "labels",
    "next_label",
    "same_values",
    "search_studies",
    "stage_key",
    "stage_name",
]

CONFIRM_STAGE = "4-confirm"
CHECK_STAGE = "5-check"

EXTENSIONS = "extensions"
"""Study attribute: by how many trials the stage was extended, in order."""

AROUND = "around"
"""Field of a study's definition: the hyperparameters of the winner that it looks around."""

SEPARATOR = "~"


def stage_name(label: str) -> str:
    """The stage that a study belongs to: `2-lr_l~3` → `2-lr_l`."""
    return label.split(SEPARATOR, 1)[0]


def stage_key(label: str) -> str:
    """What a stage is called in a search space: `2-lr_l~3` → `lr_l`, `4-confirm` → `confirm`."""
    name = stage_name(label)
    return name.split("-", 1)[1] if "-" in name else name


def labels(name: str) -> Iterator[str]:
    """Labels of a stage's studies, one generation after the other, without end."""
    yield name
    generation = 2
    while True:
        yield f"{name}{SEPARATOR}{generation}"
        generation += 1


def next_label(name: str, history: Mapping[str, StudyHistory]) -> str:
    """Label of the study that a stage opens next."""
    return next(label for label in labels(name) if label not in history)


def is_closed(study: StudyHistory) -> bool:
    """Whether the stage has a winner, by all trials that it was extended by."""
    asked = study.attributes.get(EXTENSIONS, ())
    return study.result is not None and study.result.extensions >= len(asked)


def current_studies(history: Mapping[str, StudyHistory]) -> dict[str, StudyHistory]:
    """The study of each stage that fits what the stages before it keep now.

    Args:
        history: All studies of a run by label, in the order of its stages.

    Returns:
        Studies by name of stage, in order. Nothing after an open stage is there, since it is not
        known yet what its study would have to fit; the optional stages come after all others.
    """
    found: dict[str, StudyHistory] = {}
    kept: dict[str, float] = {}
    winner: dict[str, float] = {}
    for name in dict.fromkeys(stage_name(label) for label in history):
        generations = [history[label] for label in labels_of(name, history)]
        study = next((s for s in generations if _fits(s, kept, winner)), None)
        if study is None:
            if name in (CONFIRM_STAGE, CHECK_STAGE):
                continue
            break
        found[name] = study
        if name in (CONFIRM_STAGE, CHECK_STAGE):
            continue
        if not is_closed(study) or study.result is None:
            break
        winner = dict(study.result.params)
        kept |= {key: winner[key] for key in study.spec.definition.get("keeps", ())}
    return found


def labels_of(name: str, history: Mapping[str, StudyHistory]) -> Iterator[str]:
    """Labels of the studies that a stage has, oldest first."""
    for label in labels(name):
        if label not in history:
            return
        yield label


def search_studies(current: Mapping[str, StudyHistory]) -> dict[str, StudyHistory]:
    """The studies whose winners decide: all but those that confirm or check the choice."""
    optional = (CONFIRM_STAGE, CHECK_STAGE)
    return {name: study for name, study in current.items() if stage_name(name) not in optional}


def same_values(first: Mapping[str, float], second: Mapping[str, float]) -> bool:
    """Whether two sets of hyperparameters are equal."""
    return first.keys() == second.keys() and all(
        math.isclose(value, second[name], rel_tol=1e-12, abs_tol=0.0)
        for name, value in first.items()
    )


def _fits(study: StudyHistory, kept: Mapping[str, float], winner: Mapping[str, float]) -> bool:
    definition = study.spec.definition
    fixed = definition.get("fixed", {})
    around = definition.get(AROUND)
    wanted = {name: kept[name] for name in fixed if name in kept}
    return same_values(fixed, wanted) and (around is None or same_values(around, winner))
