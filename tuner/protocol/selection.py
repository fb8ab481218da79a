"""Who wins a stage, and why (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tuner.records import StageResult, TrialRecord, TrialState

__all__ = ["best_trial", "close_stage", "describe_failures", "format_value", "kept_values"]
__all__ += ["ranked_trials"]


def format_value(value: float) -> str:
    """A hyperparameter's value for people: 1e-4, 0.002, 0.5, 3 → `1e-4`, `2e-3`, `0.5`, `3`."""
    if value == 0 or 0.1 <= abs(value) < 10_000:
        return f"{value:.4g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def best_trial(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """The finished trial with the lowest objective; ties: fewer epochs, then lower number."""
    return next(iter(ranked_trials(trials)), None)


def ranked_trials(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The finished trials, best first, as `best_trial` compares them."""
    finished = [t for t in trials if t.state is TrialState.FINISHED and t.value is not None]
    return sorted(finished, key=_rank)


def describe_failures(trials: Sequence[TrialRecord]) -> tuple[str, ...]:
    """One line per trial: number, hyperparameters, how it ended and why."""
    return tuple(_failure(trial) for trial in trials)


def _failure(trial: TrialRecord) -> str:
    reason = trial.outcome.reason if trial.outcome else "no outcome recorded"
    point = " ".join(f"{k}={format_value(v)}" for k, v in trial.spec.params.items())
    return f"trial {trial.number} ({point}): {trial.state.value}, {reason}"


def close_stage(stage: str, keeps: Sequence[str], trials: Sequence[TrialRecord]) -> StageResult:
    """Decide a stage in which at least one trial has finished.

    Args:
        stage: Name of the stage.
        keeps: Hyperparameters that later stages take over; the reason compares their values.
        trials: Every trial of the stage, ended.

    Raises:
        ValueError: If no trial has finished.
    """
    winner = best_trial(trials)
    if winner is None or winner.value is None:
        raise ValueError(f"stage {stage!r} has no finished trial to choose")
    return StageResult(
        stage=stage,
        winner=winner.number,
        params=dict(winner.spec.params),
        value=winner.value,
        reason=_reason(stage, keeps, winner, winner.value, trials),
    )


def _rank(trial: TrialRecord) -> tuple[float, int, int]:
    assert trial.value is not None
    return (trial.value, trial.epochs, trial.number)


def kept_values(params: Mapping[str, float], keeps: Sequence[str]) -> str:
    """What later stages take over, for people: `lr_l = 1e-4`."""
    return ", ".join(f"{name} = {format_value(params[name])}" for name in keeps)


def _reason(
    stage: str,
    keeps: Sequence[str],
    winner: TrialRecord,
    value: float,
    trials: Sequence[TrialRecord],
) -> str:
    finished = sum(t.state is TrialState.FINISHED for t in trials)
    head = f"stage {stage} closed: {finished} of {len(trials)} finished; "
    head += f"{kept_values(winner.spec.params, keeps)} wins with {value:.3f} mm"
    others = [t for t in trials if any(t.spec.params[k] != winner.spec.params[k] for k in keeps)]
    second = best_trial(others)
    if second is None or second.value is None:
        return f"{head} (no other value of {', '.join(keeps)} finished)"
    gap = second.value - value
    return f"{head}, by {gap:.3f} mm over {kept_values(second.spec.params, keeps)}"
