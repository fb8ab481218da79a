"""How runs on one cluster divide it: max-min fair, in whole trials (no Ray in here)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Claim", "fair_shares"]

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Claim:
    """What one run could use.

    Attributes:
        run: Its identity.
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
