"""Seeds: a function of (base seed, stage, trial number), never of time or order of events."""

from __future__ import annotations

import hashlib

__all__ = ["trial_seed"]


def trial_seed(base_seed: int, stage: str, number: int) -> int:
    """Seed of one trial, 0 ≤ seed < 2³¹, the same in every process and after every restart."""
    text = f"{base_seed}/{stage}/{number}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "big") >> 1
