"""Finished trials of all runs in a store, so that no training is paid for twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tuner.ports import StudyStore
from tuner.records import StudyHistory, TrialRecord, TrialSpec, TrialState

__all__ = ["Known", "TrialCache"]


Found = tuple[str, TrialRecord]
"""A finished trial and its name, `study#number`."""


@dataclass(frozen=True)
class Known:
    """Finished trainings that may answer a new trial.

    Attributes:
        by_configuration: By configuration key; within a run, the first that finished.
        by_fingerprint: By fingerprint, as it was recorded: a training of an earlier version of
            the trainer has another one.
    """

    by_configuration: Mapping[str, Found]
    by_fingerprint: Mapping[str, Found]

    def find(self, spec: TrialSpec) -> Found | None:
        """The finished trial that is what a specification asks for, if there is one."""
        found = self.by_configuration.get(spec.configuration_key)
        return found or self.by_fingerprint.get(spec.fingerprint)


class TrialCache:
    """Finds a finished training that is the same as one that is asked for.

    Within a run the same configuration is one training, whatever its seed: a sampler that proposes
    a point twice would otherwise pay for it twice. Across runs the fingerprint has to agree, seed
    and all: another seed is another training there, and the way to repeat one.

    Other runs are read once, when the first trial is looked up. What they finish later is not
    seen; nothing depends on it but time.

    Args:
        store: The study store.
        run: Name of the run that asks.
    """

    def __init__(self, store: StudyStore, run: str) -> None:
        self._store = store
        self._run = run
        self._others: dict[str, Found] | None = None

    def known(self, history: Mapping[str, StudyHistory], *, any_seed: bool) -> Known:
        """What is known when a stage's trials are planned.

        Args:
            history: The studies of the run that asks, as they stand.
            any_seed: Whether, within the run, another seed is the same training.

        Raises:
            StoreError: If the store cannot be read.
        """
        own = list(_trained(history.values()))
        if self._others is None:
            self._others = {
                trial.fingerprint: (source, trial)
                for source, trial in _trained(self._other_runs())
            }
        return Known(
            by_configuration={t.configuration_key: (s, t) for s, t in reversed(own)}
            if any_seed
            else {},
            by_fingerprint={**self._others, **{t.fingerprint: (s, t) for s, t in own}},
        )

    def _other_runs(self) -> Iterator[StudyHistory]:
        for name in self._store.studies():
            if name.rsplit("/", 1)[0] != self._run:
                study = self._store.history(name)
                if study is not None:
                    yield study


def _trained(studies: Iterable[StudyHistory]) -> Iterator[Found]:
    """Trials that were trained to their end, rather than copied, with their names."""
    for study in studies:
        for trial in study.trials:
            if trial.state is TrialState.FINISHED and trial.imported_from is None:
                yield f"{study.spec.study_name}#{trial.number}", trial
