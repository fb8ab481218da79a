"""The numbers of a report as plain rows, shared by terminal, Markdown and HTML (pure)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuner.protocol.selection import format_value
from tuner.reports.confirmation import verdict_text
from tuner.reports.metrics import METRICS, Metric
from tuner.reports.run_summary import RunSummary, StageSummary, TrialRow
from tuner.reports.summary import run_of

__all__ = [
    "METRICS",
    "REPORT_FILE",
    "ComparisonRow",
    "Metric",
    "StageRow",
    "comparison_rows",
    "confirmation_note",
    "direction_note",
    "duration_text",
    "headline",
    "next_steps",
    "params_text",
    "place_rows",
    "savings_text",
    "selection_note",
    "source_text",
    "stage_notes",
    "stage_rows",
    "winner_checkpoint",
]


REPORT_FILE = "report/report.html"
"""Where a finished run's report lies in its folder."""


@dataclass(frozen=True)
class ComparisonRow:
    """One metric of the baseline beside SEAL's, on the test split.

    Attributes:
        metric: Which.
        baseline: The baseline's value.
        seal: SEAL's value; None while it is not known.
        difference: SEAL minus baseline.
        percent: The difference in percent of the baseline; None if that is 0.
    """

    metric: Metric
    baseline: float
    seal: float | None
    difference: float | None
    percent: float | None

    @property
    def better(self) -> bool | None:
        """Whether SEAL is better; None if it is equal or not known."""
        if not self.difference:
            return None
        return (self.difference > 0) == self.metric.higher_is_better


@dataclass(frozen=True)
class StageRow:
    """One stage's line: what was tuned, how its trials ended, who won.

    Attributes:
        name: Name of the stage.
        trials: How its trials stand, in words.
        tuned: The winner's tuned hyperparameters, in words.
        fixed: Its fixed ones.
        val_mpjpe_mm: Its objective.
        state: `closed`, `open` or `failed`.
        decision: The decision in one sentence.
    """

    name: str
    trials: str
    tuned: str
    fixed: str
    val_mpjpe_mm: float | None
    state: str
    decision: str


def params_text(params: Mapping[str, float]) -> str:
    """Hyperparameters for people: `lr_l 1e-4, alpha 5e-3`."""
    return ", ".join(f"{name} {format_value(value)}" for name, value in params.items())


def duration_text(seconds: float) -> str:
    """A duration for people: `8 s`, `3 min 20 s`, `2 h 05 min`, `3 d 04 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 2 * 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def comparison_rows(summary: RunSummary) -> list[ComparisonRow]:
    """Baseline against SEAL on every metric that the baseline has; empty before the test."""
    baseline = summary.baseline.test if summary.baseline else None
    seal = summary.seal.test if summary.seal else None
    return [
        _comparison(metric, baseline[metric.key], (seal or {}).get(metric.key))
        for metric in METRICS
        if baseline is not None and metric.key in baseline
    ]


def direction_note(rows: Sequence[ComparisonRow]) -> str:
    """Which way is better: `lower is better`, or which metrics differ from that."""
    higher = [
        row.metric.label for row in rows if row.metric.higher_is_better and row.metric.charted
    ]
    if not higher:
        return "lower is better"
    return f"lower is better; {' and '.join(higher)}: higher is better"


def stage_rows(summary: RunSummary) -> list[StageRow]:
    """One row per stage that has begun."""
    return [_stage_row(stage) for stage in summary.stages]


def headline(summary: RunSummary) -> str:
    """The result in one sentence, without more than the numbers say."""
    if summary.state == "failed":
        stage = next(stage for stage in summary.stages if stage.given_up)
        return f"Stage {stage.name} has no result: every trial failed."
    rows = {row.metric.key: row for row in comparison_rows(summary)}
    row = rows.get("mpjpe_mm")
    if row is None or row.seal is None or row.difference is None or row.percent is None:
        closed = sum(stage.closed for stage in summary.stages)
        return f"Not finished; stages closed: {closed}, trainings begun: {summary.trainings}."
    return f"{_change_text(row.baseline, row.seal, row.percent)}{_certainty(summary)}"


def selection_note(summary: RunSummary) -> str:
    """On which data the choice was made, for every report to say."""
    if summary.configuration.get("select_on") == "test":
        return (
            "Chosen on the TEST split (select_on = test, as the paper did): the test figures "
            "are optimistic."
        )
    chosen = "Chosen on the validation split; the test split was used once, for these two."
    if summary.confirmation is None:
        return (
            f"{chosen} One training each: repeat the command with --confirm-seeds 5 before you "
            "believe a small difference."
        )
    return f"{chosen} One training each; the confirmation has more."


def confirmation_note(summary: RunSummary) -> str:
    """How the trainings with fresh seeds were made, for every report to say."""
    note = "All candidates have the same seeds, none of which the search used."
    if summary.configuration.get("select_on") == "test":
        note += (
            " The epoch of each training was chosen on TEST, so its test figures are optimistic."
        )
    return note


def stage_notes(stage: StageSummary) -> list[str]:
    """What to know of a stage's trials besides the decision, a sentence each."""
    notes = []
    if stage.pruner != "none":
        notes.append(savings_text(stage))
    if stage.asynchronous:
        notes.append(
            "Asynchronous: trials were judged at once, so timing had a say in who was stopped, "
            "and a repetition may end otherwise."
        )
    for extension in stage.extensions:
        reason = extension.get("reason", f"extended by {extension['trials']} more trials")
        notes.append(f"Afterwards {reason}.")
    sources = [t.imported_from for t in stage.trials if t.imported_from]
    others = sorted({run_of(source) for source in sources} - {run_of(stage.study)})
    if others:
        known = _count(stage.counts.from_other_runs, "training")
        notes.append(f"{known} known from {', '.join(others)}: not paid twice.")
    return notes


def savings_text(stage: StageSummary) -> str:
    """What the stage's pruner saved, in one sentence."""
    saved = stage.savings
    if not saved.epochs:
        return f"Pruning ({stage.pruner}) stopped no trial early."
    return (
        f"Pruning ({stage.pruner}) saved {saved.epochs} of {saved.planned_epochs} epochs, "
        f"about {duration_text(saved.seconds)}."
    )


def source_text(run: str, source: str) -> str:
    """Where a trial's result comes from that was not trained again, for people."""
    if run_of(source) == run:
        return f"carried over from {source.removeprefix(f'{run}/')}"
    return f"cached: known from {source}"


def winner_checkpoint(summary: RunSummary) -> str | None:
    """Where the weights of the best configuration so far lie."""
    for tested in (summary.seal, summary.baseline):
        if tested is not None and tested.checkpoint is not None:
            return tested.checkpoint
    return None


def place_rows(summary: RunSummary) -> list[tuple[str, str]]:
    """Where everything is, as (what, where)."""
    reported = summary.artifacts and summary.state == "finished"
    places = [
        ("studies", summary.storage),
        ("tracking", summary.tracking_uri),
        ("tracking run", summary.mlflow_run_id or ""),
        ("run folder", summary.artifacts),
        ("report", f"{summary.artifacts}/{REPORT_FILE}" if reported else ""),
        ("weights", winner_checkpoint(summary) or ""),
    ]
    return [(what, where) for what, where in places if where]


def next_steps(summary: RunSummary) -> list[tuple[str, str]]:
    """Commands that make sense now, as (command, what it does)."""
    run = shlex.quote(summary.run)
    options = "".join(f" {shlex.quote(option)}" for option in summary.location_options)
    browse = (f"tuner ui{options}", "browse trials, curves and artifacts in the MLflow UI")
    if summary.state == "finished":
        show = (f"tuner runs show {run}{options}", "this table again")
        return [browse, show, *_larger_run(summary, options)]
    goal = "try the failed trials once more" if summary.state == "failed" else "go on"
    return [
        (f"tuner runs resume {run}{options}", f"{goal}; nothing finished is trained again"),
        (f"tuner runs show {run}{options}", "what is done so far"),
        browse,
    ]


LARGER_PRESETS: Mapping[str, str] = {"quick": "standard", "standard": "paper"}


def _larger_run(summary: RunSummary, options: str) -> list[tuple[str, str]]:
    """The same search with the next larger preset, if the configuration names one."""
    config = summary.configuration
    larger = LARGER_PRESETS.get(str(config.get("preset")))
    if larger is None or not config.get("backbone"):
        return []
    command = f"tuner greedy --backbone {shlex.quote(str(config['backbone']))}"
    if config.get("dataset"):
        command += f" --dataset {shlex.quote(str(config['dataset']))}"
    if config.get("data_dir"):
        command += f" --data-dir {shlex.quote(str(config['data_dir']))}"
    return [(f"{command} --preset {larger}{options}", "a longer search, on a GPU")]


def _change_text(baseline: float, seal: float, percent: float) -> str:
    difference = seal - baseline
    if f"{abs(difference):.2f}" == "0.00":
        return f"SEAL leaves MPJPE on test where the baseline has it, at {seal:.2f} mm."
    return (
        f"SEAL {'lowers' if difference < 0 else 'raises'} MPJPE on test by {abs(difference):.2f} "
        f"mm ({percent:+.1f} %): {baseline:.2f} to {seal:.2f} mm."
    )


def _certainty(summary: RunSummary) -> str:
    """What the fresh seeds say of the difference of two trainings; empty without them."""
    return f" {verdict_text(summary.confirmation)}" if summary.confirmation else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _comparison(metric: Metric, baseline: float, seal: float | None) -> ComparisonRow:
    if seal is None:
        return ComparisonRow(metric, baseline, None, None, None)
    difference = seal - baseline
    percent = 100.0 * difference / baseline if baseline else None
    return ComparisonRow(metric, baseline, seal, difference, percent)


def _stage_row(stage: StageSummary) -> StageRow:
    params = stage.winner.params if stage.winner else {}
    return StageRow(
        name=stage.name,
        trials=_counts_text(stage),
        tuned=params_text({name: params[name] for name in stage.tunes if name in params}),
        fixed=params_text({n: value for n, value in params.items() if n not in stage.tunes}),
        val_mpjpe_mm=stage.winner.val_mpjpe_mm if stage.winner else None,
        state="closed" if stage.closed else ("failed" if stage.given_up else "open"),
        decision=stage.reason or _open_text(stage),
    )


def _counts_text(stage: StageSummary) -> str:
    counts = stage.counts
    parts = [f"{counts.finished} of {counts.total}"]
    for count, word in (
        (counts.carried_over, "carried over"),
        (counts.from_other_runs, "cached"),
        (counts.pruned, "pruned"),
        (counts.failed, "failed"),
        (counts.running, "open"),
    ):
        if count:
            parts.append(f"{count} {word}")
    return ", ".join(parts)


def _open_text(stage: StageSummary) -> str:
    if stage.given_up:
        return f"stage {stage.name}: no trial finished: {_first_reason(stage.trials)}"
    if stage.kind == "confirm":
        return stage.reason
    if stage.winner is None:
        return f"stage {stage.name} is open: no trial has finished yet"
    return f"stage {stage.name} is open: what is shown is the best so far"


def _first_reason(trials: tuple[TrialRow, ...]) -> str:
    return next((trial.reason for trial in trials if trial.reason), "no reason recorded")
