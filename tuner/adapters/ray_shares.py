"""How runs on one cluster divide it: max-min fair, in whole trials (no Ray in here)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["STALE_S", "Claim", "ClaimBook", "fair_shares"]

STALE_S = 15.0
"""After so long without a word a run counts as dead."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Claim:
    """What one run could use.

    Attributes:
        run: Its identity, one for each life of it.
        wanted: Trials that it could run at once now.
        fitting: Trials of its size that the whole cluster would hold.
    """

    run: str
    wanted: int
    fitting: int

    @property
    def size(self) -> float:
        """The part of the cluster that one of its trials takes, if any fits."""
        return 1.0 / self.fitting


def fair_shares(claims: Iterable[Claim]) -> dict[str, int]:
    """How many trials each run may have at once.

    Nobody gets more than it wants; who wants little leaves the rest to the others, who get equal
    parts of the cluster. Parts are rounded down to whole trials, and what is left over by that
    goes to one after another, in order of identity. A run that wants something gets one trial at
    least, even where there are more runs than the cluster has room for: Ray's queue decides then.

    Args:
        claims: One per run.
    """
    given = list(claims)
    # what has no room now takes none from the others
    placeable = [claim for claim in given if claim.fitting > 0]
    waiting = sorted(placeable, key=lambda claim: (claim.wanted * claim.size, claim.run))
    parts: dict[str, float] = {}
    free = 1.0
    for index, claim in enumerate(waiting):
        parts[claim.run] = min(claim.wanted * claim.size, free / (len(waiting) - index))
        free -= parts[claim.run]
    shares = {claim.run: int(parts[claim.run] / claim.size + _ROUNDING) for claim in waiting}
    left = 1.0 - sum(shares[claim.run] * claim.size for claim in waiting)
    for claim in sorted(waiting, key=lambda claim: claim.run):
        if shares[claim.run] < claim.wanted and left >= claim.size - _ROUNDING:
            shares[claim.run] += 1
            left -= claim.size
    return {claim.run: max(1, shares.get(claim.run, 0)) for claim in given}


@dataclass
class ClaimBook:
    """Which runs gave a word lately; all times are seconds of one clock.

    Attributes:
        last_word_s: When anybody said anything last.
    """

    last_word_s: float
    _kept: dict[str, tuple[str, float, Claim]] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)

    def claim(self, run: str, claim: Claim, now_s: float) -> list[Claim]:
        """Write down what a life of a run could use.

        A new life takes the place of what was said before under the run's name: by a driver that
        was killed. Were it alive all the same, another run of that name, its next word would
        bring it back beside the new one.

        Returns:
            What everybody could use that is alive.
        """
        life = claim.run
        if life not in self._known:
            self._known.add(life)
            self._kept = {n: kept for n, kept in self._kept.items() if kept[0] != run}
        self._kept[life] = (run, now_s, claim)
        self.last_word_s = now_s
        return self._alive(now_s)

    def leave(self, life: str, now_s: float) -> list[Claim]:
        """Take a life of a run off; return who is left."""
        self._kept.pop(life, None)
        return self._alive(now_s)

    def is_deserted(self, now_s: float) -> bool:
        """Whether everybody is dead, though nobody said so."""
        return now_s - self.last_word_s >= STALE_S

    def _alive(self, now_s: float) -> list[Claim]:
        self._kept = {n: kept for n, kept in self._kept.items() if now_s - kept[1] < STALE_S}
        return [claim for _, _, claim in self._kept.values()]
