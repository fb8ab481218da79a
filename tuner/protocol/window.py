"""A window around one point of a search space (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces import HYPERPARAMETERS

__all__ = ["Window", "clipped", "inside", "narrowed", "window_around"]

Window = Mapping[str, tuple[float, float]]
"""Lowest and highest value of each hyperparameter, both inclusive."""


def window_around(
    distributions: Mapping[str, Mapping[str, Any]], point: Mapping[str, float], *, factor: float
) -> dict[str, tuple[float, float]]:
    """The window around a point.

    Args:
        distributions: Hyperparameters as a study keeps them (`low`, `high`, `log`, `type`).
        point: Their values in the middle.
        factor: On a log scale the window reaches from 1/factor of the value to factor times it;
            on a linear one its width is the range's divided by factor.

    Returns:
        Ends that a training can have; they may lie outside the range. A hyperparameter with one
        value only keeps it.
    """
    return {name: _ends(name, item, point[name], factor) for name, item in distributions.items()}


def clipped(window: Window, distributions: Mapping[str, Mapping[str, Any]]) -> Window:
    """The part of a window that lies within the ranges."""
    return {
        name: (max(low, distributions[name]["low"]), min(high, distributions[name]["high"]))
        for name, (low, high) in window.items()
    }


def inside(window: Window, params: Mapping[str, float]) -> bool:
    """Whether a point lies within a window."""
    return all(low <= params[name] <= high for name, (low, high) in window.items())


def narrowed(
    distributions: Mapping[str, Mapping[str, Any]], window: Window
) -> dict[str, dict[str, Any]]:
    """Distributions over the window instead of the ranges."""
    return {
        name: {**item, "low": window[name][0], "high": window[name][1]}
        for name, item in distributions.items()
    }


def _ends(name: str, item: Mapping[str, Any], value: float, factor: float) -> tuple[float, float]:
    if item["low"] == item["high"]:
        return value, value
    if item["log"]:
        low, high = value / factor, value * factor
    else:
        half = (item["high"] - item["low"]) / factor / 2
        low, high = value - half, value + half
    known = HYPERPARAMETERS.get(name)
    if known is not None and (low < known.least or (known.open and low <= known.least)):
        # the least value itself makes no sense where the bound is open
        low = value / factor if known.open else float(known.least)
    if item.get("type") != "int":
        return low, high
    least = 1 if known is None else known.least
    # at least the next whole number on either side
    return max(least, min(round(low), int(value) - 1)), max(round(high), int(value) + 1)
