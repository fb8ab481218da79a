"""Which trials of a stage go on, wait, or stop at its rungs, from what each has reported."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tuner.ports import Pruner
from tuner.records import TrialRecord, TrialState

__all__ = ["RungBook", "Verdict"]


class Verdict(enum.Enum):
    """What becomes of a trial at the rungs that it has come to."""

    GO_ON = "go on"
    WAIT = "wait"
    STOP = "stop"


@dataclass
class _Entrant:
    bracket: int
    curve: dict[int, float]
    epochs: int
    ended: bool
    passed: set[int] = field(default_factory=set)
    lost: str = ""


@dataclass
class _Rung:
    """A rung of a bracket, kept up to date trial by trial, so that no event looks at all of them.

    Attributes:
        behind: Running trials that may still come.
        unjudged: Running trials that have come, and of which nothing is decided.
        arrived: Curves of all that ever came, by trial.
        lost: Those of them that do not go on.
        waiting: Trials that were told to wait here.
    """

    behind: set[int] = field(default_factory=set)
    unjudged: set[int] = field(default_factory=set)
    arrived: dict[int, dict[int, float]] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    waiting: set[int] = field(default_factory=set)


class RungBook:
    """The rungs of a stage while its trials run.

    A rung is settled for all trials of a bracket at once, as soon as none of them can still come
    to it. So who goes on is a function of the trials' figures, whichever came first, and a driver
    that is started again comes to the same from what the store has kept.

    With `asynchronous` each trial is judged when it comes, against those that came before it.

    Args:
        pruner: Who judges.
        epochs: Epochs of a training that is not stopped; for the reasons.
        asynchronous: Whether to judge at once.
    """

    def __init__(self, pruner: Pruner, *, epochs: int, asynchronous: bool = False) -> None:
        self._pruner = pruner
        self._epochs = epochs
        self._asynchronous = asynchronous
        self._entrants: dict[int, _Entrant] = {}
        self._brackets: dict[int, dict[int, _Rung]] = {}

    def take(self, trials: Iterable[TrialRecord]) -> None:
        """Enter trials that are not in the book yet, with all that is known of them."""
        for trial in trials:
            if trial.number not in self._entrants:
                bracket, curve = self._pruner.bracket(trial.number), dict(trial.curve)
                epochs = max(curve, default=0)
                entrant = _Entrant(bracket, curve, epochs, trial.state.ended)
                self._entrants[trial.number] = entrant
                for epoch, rung in self._rungs(bracket).items():
                    if not entrant.ended:
                        (rung.behind if epochs < epoch else rung.unjudged).add(trial.number)
                    if epoch in curve:
                        rung.arrived[trial.number] = curve
                    if epoch == epochs and trial.state is TrialState.PRUNED:
                        rung.lost.add(trial.number)

    def report(self, number: int, epoch: int, value: float) -> None:
        """A trial completed an epoch with that objective, millimetres."""
        entrant = self._entrants[number]
        entrant.curve[epoch] = value
        entrant.epochs = max(entrant.epochs, epoch)
        for rung_epoch, rung in self._rungs(entrant.bracket).items():
            if rung_epoch == epoch:
                rung.arrived[number] = entrant.curve
            if rung_epoch <= epoch and number in rung.behind:
                rung.behind.remove(number)
                rung.unjudged.add(number)

    def is_rung(self, number: int, epoch: int) -> bool:
        """Whether a trial is judged after that epoch."""
        return epoch in self._rungs(self._entrants[number].bracket)

    def end(self, number: int) -> None:
        """A trial has ended, however."""
        entrant = self._entrants[number]
        entrant.ended = True
        self._leave(number, entrant)

    def verdict(self, number: int, epoch: int | None = None) -> Verdict:
        """What becomes of a trial.

        Args:
            number: The trial.
            epoch: Where it stands now, which may be before what it has once reported: its last
                checkpoint was lost. None for that.
        """
        entrant = self._entrants[number]
        epoch = entrant.epochs if epoch is None else epoch
        rungs = self._rungs(entrant.bracket)
        if self._asynchronous:
            return self._judged_at_once(number, entrant, epoch if epoch in rungs else None)
        for rung_epoch, rung in rungs.items():
            if rung_epoch > epoch:
                break
            if not self._settle(entrant.bracket, rung_epoch):
                rung.waiting.add(number)
                return Verdict.WAIT
            if rung_epoch not in entrant.passed:
                return Verdict.STOP
        return Verdict.GO_ON

    def released(self) -> Iterator[int]:
        """Trials that were told to wait and need not any more, each once."""
        for bracket, rungs in self._brackets.items():
            for epoch, rung in rungs.items():
                if rung.waiting and self._settle(bracket, epoch):
                    waited, rung.waiting = rung.waiting, set()
                    yield from (n for n in waited if self.verdict(n) is not Verdict.WAIT)

    def reason(self, number: int, epochs: int) -> str:
        """Why a trial was stopped after so many epochs, for people."""
        lost = self._entrants[number].lost
        return f"stopped after epoch {epochs} of {self._epochs}: {lost}"

    def _rungs(self, bracket: int) -> dict[int, _Rung]:
        """The rungs of a bracket by epoch, from the first."""
        if bracket not in self._brackets:
            epochs = sorted(self._pruner.rungs(bracket))
            self._brackets[bracket] = {epoch: _Rung() for epoch in epochs}
        return self._brackets[bracket]

    def _settle(self, bracket: int, epoch: int) -> bool:
        """Judge all that have come to a rung, unless another one may still come."""
        rung = self._rungs(bracket)[epoch]
        if rung.behind:
            return False
        if rung.unjudged:
            self._judge(bracket, epoch, rung)
        return True

    def _judge(self, bracket: int, epoch: int, rung: _Rung) -> None:
        """Decide about those of whom nothing is decided, among all that ever came."""
        # who has no figure there cannot be compared
        judged = rung.unjudged & rung.arrived.keys()
        survivors = self._pruner.survivors(bracket, epoch, rung.arrived, judged=judged)
        for number in rung.unjudged - judged | survivors:
            self._entrants[number].passed.add(epoch)
        rung.lost |= judged - survivors
        rung.unjudged.clear()
        # counted, for to judge all again with each that comes would take longer and longer
        count = f"{len(rung.arrived) - len(rung.lost)} of {len(rung.arrived)}"
        for number in judged - survivors:
            entrant = self._entrants[number]
            entrant.lost = f"{count} go on ({self._pruner.name})"
            self._leave(number, entrant)

    def _leave(self, number: int, entrant: _Entrant) -> None:
        """Nobody waits for a trial any more, and nothing of it is to be decided."""
        for rung in self._rungs(entrant.bracket).values():
            rung.behind.discard(number)
            rung.unjudged.discard(number)
            if entrant.ended:
                rung.waiting.discard(number)

    def _judged_at_once(self, number: int, entrant: _Entrant, rung: int | None) -> Verdict:
        if rung is None:
            return Verdict.GO_ON
        arrived = self._rungs(entrant.bracket)[rung].arrived
        if self._pruner.survivors(entrant.bracket, rung, arrived, judged=(number,)):
            return Verdict.GO_ON
        behind = f"behind the others among {len(arrived)} that were there"
        entrant.lost = f"{behind} ({self._pruner.name}, asynchronous)"
        return Verdict.STOP
