"""What the repetition with fresh seeds says of winner, baseline and runners-up (pure)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tuner.protocol.confirm import CANDIDATES
from tuner.records import StudyHistory, TrialRecord, TrialState
from tuner.reports.metrics import METRICS, Metric
from tuner.reports.parameter_order import in_order
from tuner.reports.statistics import PairedDifference, Spread, compare_pairs, spread

__all__ = [
    "BASELINE",
    "CONFIRMED_METRICS",
    "HEADLINE_METRIC",
    "WINNER",
    "Candidate",
    "Comparison",
    "Confirmation",
    "Split",
    "confirm",
    "metric_of",
    "verdict_text",
]

Split = Literal["test", "val"]

WINNER, BASELINE = "winner", "baseline"

HEADLINE_METRIC = "mpjpe_mm"
"""The metric, on test, that decides whether a gain is called one."""

CONFIRMED_METRICS = (HEADLINE_METRIC, "p_mpjpe_mm", "lse", "lle", "bsle")


@dataclass(frozen=True)
class Candidate:
    """A configuration that was trained again with fresh seeds.

    Attributes:
        role: `winner`, `baseline`, `runner-up 1`, ….
        stage: Stage that it comes from.
        trial: Its number there.
        params: Hyperparameters.
        configuration_key: Identity of the configuration.
        seeds: Seeds asked for, in order.
        failed: Seeds without a result.
        running: Seeds that have not ended, or are not tested yet.
        figures: Values by split, metric and seed.
    """

    role: str
    stage: str
    trial: int
    params: Mapping[str, float]
    configuration_key: str
    seeds: tuple[int, ...]
    failed: int
    running: int
    figures: Mapping[Split, Mapping[str, Mapping[int, float]]]

    def spreads(self, split: Split) -> dict[str, Spread]:
        """How each metric lies over the seeds that have it."""
        return {
            metric: spread(list(values.values()))
            for metric, values in self.figures[split].items()
            if values
        }

    def to_json(self) -> dict[str, Any]:
        """What was repeated, as JSON values."""
        return {
            "role": self.role,
            "stage": self.stage,
            "trial": self.trial,
            "params": dict(self.params),
            "configuration_key": self.configuration_key,
            "seeds": list(self.seeds),
            "failed": self.failed,
            "running": self.running,
        }


@dataclass(frozen=True)
class Comparison:
    """The winner minus another candidate, seed by seed.

    Attributes:
        other: The other candidate's role.
        split: `test` or `val`.
        metric: Which metric.
        difference: Mean, intervals and verdict.
    """

    other: str
    split: Split
    metric: str
    difference: PairedDifference

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        names = {"winner_minus": self.other, "split": self.split, "metric": self.metric}
        return {**names, **self.difference.to_json()}


@dataclass(frozen=True)
class Confirmation:
    """The confirm stage in numbers.

    Attributes:
        candidates: In the order in which they were chosen.
        comparisons: Winner against each other candidate: by candidate, split and metric.
    """

    candidates: tuple[Candidate, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def complete(self) -> bool:
        """Whether all that was begun has ended and is tested."""
        return all(candidate.running == 0 and candidate.seeds for candidate in self.candidates)

    @property
    def seeds(self) -> int:
        """Fresh seeds of each candidate."""
        return max((len(candidate.seeds) for candidate in self.candidates), default=0)

    def comparison(
        self, other: str, metric: str = HEADLINE_METRIC, split: Split = "test"
    ) -> Comparison | None:
        """One comparison; None where no seed has both."""
        wanted = (other, split, metric)
        found = (c for c in self.comparisons if (c.other, c.split, c.metric) == wanted)
        return next(found, None)

    def candidate(self, role: str) -> Candidate | None:
        """The candidate of that role."""
        return next((c for c in self.candidates if c.role == role), None)

    def to_json(self) -> dict[str, Any]:
        """The confirmation as JSON values; differences are winner minus other."""
        headline = self.comparison(BASELINE)
        return {
            "complete": self.complete,
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "statistics": {
                candidate.role: {
                    split: {name: s.to_json() for name, s in candidate.spreads(split).items()}
                    for split in candidate.figures
                }
                for candidate in self.candidates
            },
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
            "verdict": {
                "kind": headline.difference.verdict if headline else None,
                "text": verdict_text(self),
            },
        }


def confirm(history: StudyHistory) -> Confirmation:
    """Condense the confirm study; its attribute `candidates` says who is who."""
    candidates = tuple(
        _candidate(entry, history.trials) for entry in history.attributes.get(CANDIDATES, ())
    )
    winner = next((one for one in candidates if one.role == WINNER), None)
    others = [one for one in candidates if one is not winner]
    comparisons = [] if winner is None else [c for o in others for c in _comparisons(winner, o)]
    return Confirmation(candidates, tuple(comparisons))


def verdict_text(confirmation: Confirmation) -> str:
    """What the repetition says of SEAL against the baseline, in one or two sentences."""
    comparison = confirmation.comparison(BASELINE)
    if comparison is None:
        return _nothing_to_compare(confirmation)
    rest = "" if confirmation.complete else " More repetitions are still open."
    return f"{_judgement(comparison.difference)}{rest}"


def metric_of(key: str) -> Metric:
    """How a confirmed metric is shown."""
    return next(metric for metric in METRICS if metric.key == key)


def _judgement(found: PairedDifference) -> str:
    if found.interval is None or found.std is None:
        return "One seed is not enough to tell a gain from noise."
    over = f"over {found.count} fresh seeds"
    if found.verdict == "noise":
        return (
            f"Not confirmed: {over} the difference to the baseline, {found.mean:+.2f} mm MPJPE "
            f"on test, cannot be told from noise: it changes by {found.std:.2f} mm from seed to "
            f"seed (standard deviation).{_seeds_text(found)}"
        )
    begin, change = ("Confirmed", "lowers") if found.verdict == "gain" else ("Worse", "raises")
    return (
        f"{begin}: {over} SEAL {change} MPJPE on test by {abs(found.mean):.2f} mm "
        f"(95 % interval {found.interval.low:+.2f} to {found.interval.high:+.2f} mm)."
    )


def _seeds_text(found: PairedDifference) -> str:
    if found.seeds_needed is None:
        return ""
    seeds = f"about {found.seeds_needed}" if found.seeds_needed <= 1000 else "more than 1,000"
    return f" By this spread it would take {seeds} seeds to show it (an estimate)."


def _nothing_to_compare(confirmation: Confirmation) -> str:
    for role in (WINNER, BASELINE):
        one = confirmation.candidate(role)
        if one is not None and one.seeds and one.failed == len(one.seeds):
            return f"No comparison: every repetition of the {role} failed."
    return "Not finished: no fresh seed has test figures of winner and baseline yet."


def _candidate(entry: Mapping[str, Any], trials: Sequence[TrialRecord]) -> Candidate:
    key = entry["configuration_key"]
    own = [t for t in trials if (t.configuration_key or t.spec.configuration_key) == key]
    # a failed repetition may have been tried anew: what finished counts
    by_seed: dict[int, TrialRecord] = {}
    for trial in own:
        known = by_seed.get(trial.spec.seed)
        if known is None or known.state is not TrialState.FINISHED:
            by_seed[trial.spec.seed] = trial
    states = [_stands(trial) for trial in by_seed.values()]
    return Candidate(
        role=entry["role"],
        stage=entry["stage"],
        trial=entry["trial"],
        params=in_order(entry["params"]),
        configuration_key=key,
        seeds=tuple(by_seed),
        failed=states.count("failed"),
        running=states.count("running"),
        figures={"test": _figures(by_seed, _test), "val": _figures(by_seed, _validation)},
    )


def _stands(trial: TrialRecord) -> str:
    if not trial.state.ended:
        return "running"
    if trial.state is not TrialState.FINISHED:
        return "failed"
    return "done" if trial.test_metrics is not None else "running"


def _figures(
    by_seed: Mapping[int, TrialRecord], read: Callable[[TrialRecord], Mapping[str, float]]
) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for seed, trial in by_seed.items():
        if trial.state is TrialState.FINISHED:
            metrics = read(trial)
            for name in CONFIRMED_METRICS:
                if name in metrics:
                    found.setdefault(name, {})[seed] = metrics[name]
    return {name: found[name] for name in CONFIRMED_METRICS if name in found}


def _test(trial: TrialRecord) -> Mapping[str, float]:
    return trial.test_metrics or {}


def _validation(trial: TrialRecord) -> Mapping[str, float]:
    metrics = trial.outcome.metrics if trial.outcome else {}
    return {name.removeprefix("val_"): v for name, v in metrics.items() if name.startswith("val_")}


def _comparisons(winner: Candidate, other: Candidate) -> list[Comparison]:
    found = []
    for split, metrics in winner.figures.items():
        for name, values in metrics.items():
            fellow = other.figures[split].get(name, {})
            pairs = [value - fellow[seed] for seed, value in values.items() if seed in fellow]
            if pairs:
                better = metric_of(name).higher_is_better
                difference = compare_pairs(pairs, higher_is_better=better)
                found.append(Comparison(other.role, split, name, difference))
    return found
