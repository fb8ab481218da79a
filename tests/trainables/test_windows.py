"""Windows over a sequence: published rules, by hand and as properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.windows import Window, clip_middles, covering_windows


@pytest.mark.parametrize(
    ("length", "step", "middles"),
    [
        (4, 1, [0, 1, 2, 3]),
        (6, 3, [1, 4]),
        (7, 3, [0, 3, 6]),  # blocks -1..1, 2..4, 5..7
        (5, 4, [0, 4]),  # blocks -1..2, 3..6
        (10, 243, [5]),
        (1, 243, [0]),
    ],
)
def test_middles_of_clips(length: int, step: int, middles: list[int]) -> None:
    assert clip_middles(length, step).tolist() == middles


@given(st.integers(1, 300), st.integers(1, 300))
def test_blocks_are_those_of_videopose3d(length: int, step: int) -> None:
    """`ChunkedGenerator`: bounds = arange(n_chunks + 1) * chunk_length - offset."""
    chunks = (length + step - 1) // step
    offset = (chunks * step - length) // 2
    bounds = np.arange(chunks + 1) * step - offset
    middles = clip_middles(length, step)
    assert np.array_equal(middles, bounds[:-1] + (step - 1) // 2)
    assert 0 <= middles.min() <= middles.max() < length
    shown = {frame for start in bounds[:-1] for frame in range(start, start + step)}
    assert shown >= set(range(length))


@pytest.mark.parametrize(
    ("length", "frames", "starts", "shown"),
    [
        (6, 3, [0, 3], [0, 0]),
        (7, 3, [0, 3, 4], [0, 0, 2]),
        (2, 5, [0], [0]),
        (5, 1, [0, 1, 2, 3, 4], [0] * 5),
    ],
)
def test_windows_that_cover_a_sequence(
    length: int, frames: int, starts: list[int], shown: list[int]
) -> None:
    found = covering_windows(length, frames)
    assert [values.tolist() for values in found] == [starts, shown]


@given(st.integers(1, 300), st.integers(1, 300))
def test_every_frame_is_new_in_one_window(length: int, frames: int) -> None:
    starts, shown = covering_windows(length, frames)
    new = [
        frame
        for start, before in zip(starts, shown, strict=True)
        for frame in range(start + before, min(start + frames, length))
    ]
    assert new == list(range(length))
    assert (starts + frames <= length).all() or length < frames


def test_outputs_of_a_clip() -> None:
    assert Window().outputs(9) == 9
    assert Window(5, "all").outputs(9) == 9
    assert Window(5, "middle").outputs(9) == 5
    assert Window(9, "middle").outputs(9) == 1
