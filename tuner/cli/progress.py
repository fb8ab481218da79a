"""How a run proceeds, on standard error: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

from tuner.cli._progress_state import ProgressState, Snapshot
from tuner.records import EpochReport, OutcomeKind, TrialOutcome, TrialRequest

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from tuner.ports import EngineListener

__all__ = ["ProgressListener", "build_listener"]

FORECAST_AFTER_TRIALS = 2
"""Trials of a stage after which its time is forecast; the first one warms up."""

REFRESHES_PER_S = 4


class ProgressListener:
    """Turns what the engine reports into lines, and keeps the state of the live view.

    Args:
        state: What the view shows.
        write: Takes one line, without line end.
    """

    def __init__(self, state: ProgressState, write: Callable[[str], None]) -> None:
        self._state = state
        self._write = write
        self._params: dict[int, str] = {}
        self._ended_here = 0

    def on_stage(
        self,
        stage: str,
        *,
        planned: int,
        done: int,
        message: str,
        best_mm: Mapping[str, float],
    ) -> None:
        """See `EngineListener`."""
        self._state.know_best(best_mm)
        if self._state.open_stage(stage, planned=planned, done=done):
            self._params.clear()
            self._ended_here = 0
            self._write(f"{stage}: {message} ({done} of {planned} done)")

    def on_trial_started(self, request: TrialRequest) -> None:
        """See `EngineListener`; fixed hyperparameters are shown too: they tell trials apart."""
        from tuner.reports.summary import in_order
        from tuner.reports.tables import params_text

        self._params[request.trial] = params_text(in_order(request.spec.params))
        self._state.start_trial(request)

    def on_epoch(self, stage: str, report: EpochReport, *, epochs: int) -> None:
        """See `EngineListener`; an epoch changes the live view, but is no line."""
        self._state.end_epoch(stage, report, epochs=epochs)

    def on_trial_parked(self, stage: str, trial: int) -> None:
        """See `EngineListener`; that too changes the live view only."""
        self._state.park_trial(trial)

    def on_trial_ended(self, stage: str, outcome: TrialOutcome) -> None:
        """See `EngineListener`."""
        self._state.end_trial(stage, outcome)
        self._write(_end_line(stage, outcome, self._params.pop(outcome.trial, "")))
        if outcome.kind is not OutcomeKind.CANCELLED:
            self._ended_here += 1
            if self._ended_here == FORECAST_AFTER_TRIALS:
                self._forecast(stage)

    def on_message(self, text: str) -> None:
        """See `EngineListener`."""
        self._write(text)

    def _forecast(self, stage: str) -> None:
        from tuner.reports.tables import duration_text

        now = self._state.snapshot()
        if now.seconds_left and now.epochs_per_s:
            self._write(
                f"{stage}: about {duration_text(now.seconds_left)} to go "
                f"({now.planned - now.done} trials, {now.epochs_per_s:.2f} epochs/s)"
            )


@contextmanager
def build_listener(
    *,
    stream: TextIO | None = None,
    json_mode: bool = False,
) -> Iterator[EngineListener]:
    """Show a run's progress for as long as the context is open.

    Args:
        stream: Where to; standard error by default. Standard output is never written.
        json_mode: Plain lines even on a terminal.
    """
    target = sys.stderr if stream is None else stream
    state = ProgressState(clock=time.monotonic)
    if json_mode or not target.isatty():
        yield ProgressListener(state, lambda line: _write_line(target, line))
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(file=target, highlight=False)
    view = _View(state)
    live = Live(
        get_renderable=view.render,
        console=console,
        refresh_per_second=REFRESHES_PER_S,
        transient=True,
        redirect_stdout=False,
    )
    with live:
        yield ProgressListener(state, lambda line: _print_above(console, line))


class _View:
    """The live part beneath the lines."""

    def __init__(self, state: ProgressState) -> None:
        self._state = state
        self._started = time.monotonic()

    def render(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        now = self._state.snapshot()
        elapsed = time.monotonic() - self._started
        if not now.stage:
            return Spinner("dots", Text(f"starting ({elapsed:.0f} s)"))
        grid = Table.grid(padding=(0, 1))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(width=24)
        grid.add_column(no_wrap=True)
        bar = ProgressBar(total=max(1, now.planned), completed=now.done, width=24)
        grid.add_row(now.stage, bar, Text(_trials_text(now)))
        return Group(grid, Text(_quality_text(now)), Text(_speed_text(now, elapsed), style="dim"))


def _trials_text(now: Snapshot) -> str:
    text = f"{now.done} of {now.planned} trials, {now.running} running"
    return f"{text}, {now.failed} failed" if now.failed else text


def _quality_text(now: Snapshot) -> str:
    if now.best_mm is None:
        return "best: none yet"
    text = f"best: {now.best_mm:.2f} mm val MPJPE"
    if now.baseline_mm is None:
        return text
    return f"{text}, {now.best_mm - now.baseline_mm:+.2f} mm against the baseline"


def _speed_text(now: Snapshot, elapsed_s: float) -> str:
    from tuner.reports.tables import duration_text

    parts = [f"{duration_text(elapsed_s)} so far"]
    if now.epochs_per_s is not None:
        parts.insert(0, f"{now.epochs_per_s:.2f} epochs/s")
    if now.seconds_left is not None:
        parts.append(f"about {duration_text(now.seconds_left)} to the end of this stage")
    return ", ".join(parts)


def _end_line(stage: str, outcome: TrialOutcome, params: str) -> str:
    head = f"{stage} trial {outcome.trial}" + (f" ({params})" if params else "")
    if outcome.kind is OutcomeKind.COMPLETED and outcome.value is not None:
        return f"{head}: {outcome.value:.3f} mm after {outcome.epochs} epochs"
    kind = outcome.kind.value.replace("_", " ")
    reason = f": {outcome.reason}" if outcome.reason else ""
    return f"{head}: {kind} after {outcome.epochs} epochs{reason}"


def _write_line(stream: TextIO, line: str) -> None:
    """Write one line with its time; a stream that is gone must not stop the run."""
    try:
        stream.write(f"{datetime.now():%H:%M:%S} {line}\n")
        stream.flush()
    except (OSError, ValueError):
        return


def _print_above(console: Console, line: str) -> None:
    """Print a line above the live view, as text: a reason may hold brackets."""
    from rich.text import Text

    console.print(Text(f"{datetime.now():%H:%M:%S} {line}"))
