"""The skeleton sheet of skeletons with 17 and with 133 joints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from tests.trainables.data.h3wb_writer import json_samples, make_whole_bodies, write_json
from trainables.config import DataConfig
from trainables.data.loading import load_dataset
from trainables.skeletons import H36M_17
from tuner.reports.skeleton_sheet import (
    LEFT_COLOUR,
    RIGHT_COLOUR,
    SheetData,
    render_sheet,
    skeleton_sheet,
)
from tuner.wiring.data_sheet import front_view, sheet_of


@pytest.fixture(scope="module")
def sheet() -> SheetData:
    return sheet_of(load_dataset(DataConfig(stride=10)))


def axes_of(data: SheetData, title: str) -> Axes:
    (found,) = [a for a in skeleton_sheet(data).axes if a.get_title().startswith(title)]
    return found


def test_every_joint_is_named_once_on_its_own_side(sheet: SheetData) -> None:
    axes = axes_of(sheet, "joints, seen from the front")
    places = {text.get_text(): text.get_position()[0] for text in axes.texts}
    assert sorted(places) == sorted(f"{n} {name}" for n, name in enumerate(H36M_17.joints))
    middle = (places["4 l_hip"] + places["1 r_hip"]) / 2
    assert places["13 l_wrist"] > middle > places["16 r_wrist"]
    colours = {text.get_text(): to_hex(text.get_color()) for text in axes.texts}
    assert (colours["13 l_wrist"], colours["16 r_wrist"]) == (LEFT_COLOUR, RIGHT_COLOUR)


def test_labels_do_not_lie_upon_one_another(sheet: SheetData) -> None:
    axes = axes_of(sheet, "joints, seen from the front")
    for side in ("left", "right"):
        heights = sorted(
            t.get_position()[1] for t in axes.texts if t.get_horizontalalignment() == side
        )
        extent = float(np.ptp(sheet.figure_m[:, 1]))
        assert min(np.diff(heights)) > 0.05 * extent


def test_bars_show_the_mean_of_the_subjects(sheet: SheetData) -> None:
    axes = axes_of(sheet, "bone lengths: mean and range of 9 subjects")
    heights = [bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)]
    assert len(heights) == 16
    assert any(h == pytest.approx(np.mean(sheet.bone_lengths_mm[2])) for h in heights)


def test_the_front_view_has_the_left_on_the_right_and_the_head_up() -> None:
    y = np.zeros((17, 3))
    y[[4, 11], 2], y[[1, 14], 2] = 0.2, -0.2  # the person looks to the right of the picture
    y[[8, 11, 14], 1], y[10, 1] = -0.5, -0.8  # y points down
    front = front_view(y, H36M_17)
    assert front[4, 0] > 0 > front[1, 0]
    assert front[10, 1] == pytest.approx(0.8)


def test_equal_data_give_equal_files(sheet: SheetData) -> None:
    for ending in ("png", "svg", "pdf"):
        assert render_sheet(sheet, ending) == render_sheet(sheet, ending)


def test_a_whole_body_has_the_names_of_body_and_feet_only(tmp_path: Path) -> None:
    samples = json_samples(make_whole_bodies(("S1", "S5"), step=3))
    data = sheet_of(load_dataset(DataConfig(name="h3wb"), write_json(tmp_path / "h", samples)))
    axes = axes_of(data, "joints, seen from the front")
    assert len(axes.texts) == 23
    assert render_sheet(data, "png").startswith(b"\x89PNG")
