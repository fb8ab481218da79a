"""Pruners of Optuna, asked without memory of their own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping
from typing import Literal, get_args

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, SuccessiveHalvingPruner
from optuna.storages import InMemoryStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from tuner.errors import ConfigurationError

__all__ = ["OptunaPruner", "build_pruner"]

Kind = Literal["asha", "median", "hyperband"]
Curve = Mapping[int, float]

REDUCTION = 3
"""One of so many goes on past a rung of `asha` and `hyperband`."""

HALVINGS = 2
"""Rungs of `asha`: the first lies at a ninth of the epochs, where rates begin to tell apart."""

MEDIAN_RUNGS = 3
"""`median` judges after each third of the epochs."""

MEDIAN_OTHERS = 4
"""Nobody is stopped by the median of fewer others."""


def build_pruner(kind: str, *, stage: str, epochs: int) -> OptunaPruner | None:
    """Build the pruner of a stage.

    Args:
        kind: `asha`, `median`, `hyperband`, or `none`.
        stage: Name of the stage; equal numbers are in different brackets in each stage.
        epochs: Epochs of a training that is not stopped.

    Returns:
        The pruner; None for `none`.

    Raises:
        ConfigurationError: If `kind` is another.
    """
    for known in get_args(Kind):
        if kind == known:
            return OptunaPruner(known, stage=stage, epochs=epochs)
    if kind == "none":
        return None
    raise ConfigurationError(
        f"pruner: found {kind!r}, expected none or one of {', '.join(get_args(Kind))}"
    )


class OptunaPruner:
    """`Pruner` that shows one of Optuna's a rung as if all its members had just reached it.

    So a judgement is a function of the values at the rung, where Optuna alone would judge each
    trial against those that happened to be there before it.

    Args:
        kind: `asha` (`SuccessiveHalvingPruner`), `median` or `hyperband`.
        stage: Name of the stage.
        epochs: Epochs of a training that is not stopped.
    """

    def __init__(self, kind: Kind, *, stage: str, epochs: int) -> None:
        # a line per throw-away study would break up the progress view
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._kind: Kind = kind
        self._epochs = epochs
        parts = MEDIAN_RUNGS if kind == "median" else REDUCTION**HALVINGS
        self._first = max(1, -(-epochs // parts))
        # Optuna draws the bracket from the study's name and the number
        self._study = _study(stage)
        self._hyperband = HyperbandPruner(
            min_resource=self._first,
            max_resource=self._first * REDUCTION**HALVINGS,
            reduction_factor=REDUCTION,
        )
        self._hyperband._try_initialization(self._study)
        self._shown: dict[tuple[int, int], _Rung] = {}

    @property
    def name(self) -> str:
        """See `Pruner`."""
        return self._kind

    def bracket(self, trial: int) -> int:
        """See `Pruner`."""
        if self._kind != "hyperband":
            return 0
        numbered = create_trial(state=OptunaState.RUNNING)
        numbered.number = trial
        return self._hyperband._get_bracket_id(self._study, numbered)

    def rungs(self, bracket: int) -> tuple[int, ...]:
        """See `Pruner`."""
        if self._kind == "median":
            epochs: Iterable[int] = range(self._first, self._epochs, self._first)
        else:
            epochs = (self._first * REDUCTION ** (bracket + rung) for rung in range(HALVINGS))
        return tuple(epoch for epoch in epochs if epoch < self._epochs)

    def survivors(
        self, bracket: int, rung: int, curves: Mapping[int, Curve], *, judged: Collection[int]
    ) -> frozenset[int]:
        """See `Pruner`."""
        index = self.rungs(bracket).index(rung)
        earlier = self.rungs(bracket)[:index]
        study = self._shown.setdefault((bracket, rung), _Rung(self._arrived))
        study.show(curves, (rung,) if self._kind == "median" else (*earlier, rung))
        pruner = self._pruner(bracket)
        return frozenset(
            number
            for number in judged
            if not pruner.prune(
                study, study.only(number, _arriving(curves[number], rung, earlier))
            )
        )

    def _pruner(self, bracket: int) -> BasePruner:
        if self._kind == "median":
            return MedianPruner(
                n_startup_trials=MEDIAN_OTHERS,
                n_warmup_steps=self._first,
                interval_steps=self._first,
                n_min_trials=MEDIAN_OTHERS,
            )
        # what `HyperbandPruner` hands the trials of a bracket to
        return SuccessiveHalvingPruner(
            min_resource=self._first,
            reduction_factor=REDUCTION,
            min_early_stopping_rate=bracket,
        )

    def _arrived(self, values: Mapping[int, float]) -> FrozenTrial:
        """A trial as another one that is judged meets it at a rung.

        Args:
            values: Objective by epoch, at the rungs that count.
        """
        if self._kind == "median":  # which compares with completed trials alone
            return create_trial(
                state=OptunaState.COMPLETE,
                value=values[max(values)],
                intermediate_values=dict(values),
            )
        return create_trial(state=OptunaState.RUNNING, system_attrs=_passed(values, values))


class _Rung(Study):
    """A study of the trials at a rung, without the one that is judged.

    What it knows of a trial is kept for the next time that the rung is looked at.

    Args:
        build: Makes a trial, as the others meet it, from its values at the rungs that count.
    """

    def __init__(self, build: Callable[[Mapping[int, float]], FrozenTrial]) -> None:
        storage = InMemoryStorage()
        study = storage.create_new_study([StudyDirection.MINIMIZE], "rung")
        super().__init__("rung", storage)
        self._build = build
        self._arrived: dict[int, tuple[dict[int, float], FrozenTrial]] = {}
        self._judged_number: int | None = None
        # pruners write down where a trial has come to; nobody reads it here
        self._placeholder = storage.create_new_trial(study)

    def show(self, curves: Mapping[int, Curve], rungs: tuple[int, ...]) -> None:
        """Make those the trials at the rung; their values at `rungs` count."""
        known, self._arrived = self._arrived, {}
        for number, curve in curves.items():
            values = {epoch: curve[epoch] for epoch in rungs}
            kept = known.get(number)
            if kept is None or kept[0] != values:
                kept = values, self._build(values)
            self._arrived[number] = kept

    def only(self, number: int, trial: FrozenTrial) -> FrozenTrial:
        """Make that trial the one that is judged."""
        self._judged_number = number
        trial._trial_id = self._placeholder
        return trial

    def get_trials(
        self, deepcopy: bool = True, states: Container[OptunaState] | None = None
    ) -> list[FrozenTrial]:
        """All others; never copied, since nobody changes them."""
        return [
            trial
            for number, (_, trial) in self._arrived.items()
            if number != self._judged_number and (states is None or trial.state in states)
        ]


def _study(name: str) -> Study:
    storage = InMemoryStorage()
    storage.create_new_study([StudyDirection.MINIMIZE], name)
    return Study(name, storage)


def _until(curve: Curve, rung: int) -> dict[int, float]:
    return {epoch: value for epoch, value in curve.items() if epoch <= rung}


def _passed(curve: Curve, rungs: Iterable[int]) -> dict[str, float]:
    """The attributes by which `SuccessiveHalvingPruner` knows who has reached which rung."""
    return {f"completed_rung_{index}": curve[epoch] for index, epoch in enumerate(rungs)}


def _arriving(curve: Curve, rung: int, earlier: tuple[int, ...]) -> FrozenTrial:
    return create_trial(
        state=OptunaState.RUNNING,
        intermediate_values=_until(curve, rung),
        system_attrs=_passed(curve, earlier),
    )
