"""Samplers of Optuna, asked without memory of their own."""

from __future__ import annotations

import hashlib
from typing import Literal, get_args

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from tuner.adapters.optuna_records import to_distributions
from tuner.errors import ConfigurationError
from tuner.records import StudyHistory, TrialRecord, TrialState

__all__ = ["OptunaSampler", "build_sampler"]

LearnedKind = Literal["random", "tpe"]

TPE_STARTUP_TRIALS = 6
"""Optuna's default of 10 would leave a stage of a dozen trials to chance."""

TPE_CANDIDATES = 24


def build_sampler(kind: str, *, seed: int, stage: str) -> OptunaSampler:
    """Build the sampler of a stage.

    Args:
        kind: `random` or `tpe`. A grid needs no sampler: the protocol enumerates it.
        seed: The run's base seed.
        stage: Name of the stage; equal seeds propose different points in each stage.

    Raises:
        ConfigurationError: If `kind` is another.
    """
    for known in get_args(LearnedKind):
        if kind == known:
            return OptunaSampler(known, seed=seed, stage=stage)
    raise ConfigurationError(f"sampler: found {kind!r}, expected random or tpe")


class OptunaSampler:
    """`Sampler` that builds an Optuna study afresh from the history for every proposal.

    So a proposal is a function of the history, the seed and the trial's number: equal in one
    life and over a restart, where Optuna's own sampler would start its random numbers, and its
    proposals, all over (pitfall P6).

    Args:
        kind: `random` or `tpe`.
        seed: The run's base seed.
        stage: Name of the stage.
    """

    def __init__(self, kind: LearnedKind, *, seed: int, stage: str) -> None:
        self._kind: LearnedKind = kind
        self._seed = seed
        self._stage = stage
        # a line per throw-away study would break up the progress view
        optuna.logging.set_verbosity(optuna.logging.WARNING)

    def suggest(self, history: StudyHistory, *, number: int, batch_start: int) -> dict[str, float]:
        """See `Sampler`."""
        distributions = to_distributions(history.spec)
        study = optuna.create_study(direction="minimize", sampler=self._sampler(number))
        for record in () if self._kind == "random" else history.trials:
            if record.number < number:
                known = record.number < batch_start
                study.add_trial(_frozen(record, distributions, known=known))
        params = study.ask(distributions).params
        return {name: params[name] for name in distributions}

    def _sampler(self, number: int) -> BaseSampler:
        text = f"{self._seed}/{self._stage}/{number}/sampler".encode()
        seed = int.from_bytes(hashlib.sha256(text).digest()[:4], "big")
        if self._kind == "random":
            return RandomSampler(seed=seed)
        # written out, since defaults changed between versions (pitfall P33); what is left out
        # is deprecated
        return TPESampler(
            n_startup_trials=TPE_STARTUP_TRIALS,
            n_ei_candidates=TPE_CANDIDATES,
            seed=seed,
            multivariate=True,
            group=False,
            constant_liar=True,
        )


def _frozen(
    record: TrialRecord, distributions: dict[str, BaseDistribution], *, known: bool
) -> FrozenTrial:
    """A trial as the sampler may know it."""
    params = {name: record.spec.params[name] for name in distributions}
    if not known or record.state is TrialState.RUNNING:
        return create_trial(state=OptunaState.RUNNING, params=params, distributions=distributions)
    if record.state is TrialState.FAILED:
        return create_trial(state=OptunaState.FAIL, params=params, distributions=distributions)
    if record.state is TrialState.FINISHED:
        return create_trial(
            state=OptunaState.COMPLETE,
            value=record.value,
            params=params,
            distributions=distributions,
        )
    # TPE ranks pruned trials by how far they came, then by their last value
    last = record.outcome.value if record.outcome is not None else None
    return create_trial(
        state=OptunaState.PRUNED,
        params=params,
        distributions=distributions,
        intermediate_values={} if last is None else {record.epochs: last},
    )
