"""Which trials of a stage go on, wait, or stop at its rungs, from what each has reported."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field

from tuner.ports import Pruner
from tuner.records import TrialRecord

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
    ended: bool
    passed: set[int] = field(default_factory=set)
    lost: str = ""

    @property
    def epochs(self) -> int:
        return max(self.curve, default=0)


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
        self._brackets: dict[int, dict[int, _Entrant]] = {}
        self._open: set[tuple[int, int]] = set()

    def take(self, trials: Iterable[TrialRecord]) -> None:
        """Enter trials that are not in the book yet, with all that is known of them."""
        for trial in trials:
            if trial.number not in self._entrants:
                bracket = self._pruner.bracket(trial.number)
                entrant = _Entrant(bracket, dict(trial.curve), trial.state.ended)
                self._entrants[trial.number] = entrant
                self._brackets.setdefault(bracket, {})[trial.number] = entrant
        self._open.clear()

    def report(self, number: int, epoch: int, value: float) -> None:
        """A trial completed an epoch with that objective, millimetres."""
        entrant = self._entrants[number]
        entrant.curve[epoch] = value
        if self.is_rung(number, epoch):
            self._open.clear()

    def is_rung(self, number: int, epoch: int) -> bool:
        """Whether a trial is judged after that epoch."""
        return epoch in self._pruner.rungs(self._entrants[number].bracket)

    def end(self, number: int) -> None:
        """A trial has ended, however."""
        self._entrants[number].ended = True
        self._open.clear()

    def verdict(self, number: int, epoch: int | None = None) -> Verdict:
        """What becomes of a trial.

        Args:
            number: The trial.
            epoch: Where it stands now, which may be before what it has once reported: its last
                checkpoint was lost. None for that.
        """
        entrant = self._entrants[number]
        epoch = entrant.epochs if epoch is None else epoch
        rungs = [rung for rung in self._pruner.rungs(entrant.bracket) if rung <= epoch]
        if self._asynchronous:
            return self._judged_at_once(number, entrant, epoch if epoch in rungs else None)
        for rung in rungs:
            if not self._settle(entrant.bracket, rung):
                return Verdict.WAIT
            if rung not in entrant.passed:
                return Verdict.STOP
        return Verdict.GO_ON

    def reason(self, number: int, epochs: int) -> str:
        """Why a trial was stopped after so many epochs, for people."""
        lost = self._entrants[number].lost
        return f"stopped after epoch {epochs} of {self._epochs}: {lost}"

    def _settle(self, bracket: int, rung: int) -> bool:
        """Judge all that have come to a rung, unless another one may still come."""
        if (bracket, rung) in self._open:
            return False
        members = self._brackets[bracket].values()
        running = [entrant for entrant in members if not entrant.ended and not entrant.lost]
        if any(entrant.epochs < rung for entrant in running):
            self._open.add((bracket, rung))
            return False
        if any(rung not in entrant.passed for entrant in running):
            self._judge(bracket, rung)
        return True

    def _judge(self, bracket: int, rung: int) -> None:
        arrived = self._arrived(bracket, rung)
        survivors = self._pruner.survivors(bracket, rung, arrived, judged=arrived.keys())
        for number, entrant in self._brackets[bracket].items():
            if number in survivors or number not in arrived:
                entrant.passed.add(rung)  # who has no figure there cannot be compared
            elif not entrant.lost:
                entrant.lost = f"{len(survivors)} of {len(arrived)} go on ({self._pruner.name})"

    def _judged_at_once(self, number: int, entrant: _Entrant, rung: int | None) -> Verdict:
        if rung is None:
            return Verdict.GO_ON
        arrived = self._arrived(entrant.bracket, rung)
        if self._pruner.survivors(entrant.bracket, rung, arrived, judged=(number,)):
            return Verdict.GO_ON
        behind = f"behind the others among {len(arrived)} that were there"
        entrant.lost = f"{behind} ({self._pruner.name}, asynchronous)"
        return Verdict.STOP

    def _arrived(self, bracket: int, rung: int) -> dict[int, dict[int, float]]:
        members = self._brackets[bracket]
        return {n: members[n].curve for n in sorted(members) if rung in members[n].curve}
