"""The skeleton sheet of skeletons with 17 and with 133 joints."""

from __future__ import annotations

import dataclasses
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from tests.trainables.data.h3wb_writer import json_samples, make_whole_bodies, write_json
from trainables.config import DataConfig
from trainables.data.loading import load_dataset
from trainables.skeletons import H36M_17
from tuner.reports.layout import settle_layout
from tuner.reports.skeleton_sheet import (
    LEFT_COLOUR,
    RIGHT_COLOUR,
    SheetData,
    SheetPose,
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


def test_the_last_bit_of_a_position_does_not_matter(sheet: SheetData) -> None:
    laid_out = []
    for noise in (0.0, 1e-13):
        figure = skeleton_sheet(sheet)
        settle_layout(figure)
        before = [axes.get_position(original=True).bounds for axes in figure.axes]
        figure.draw_without_rendering()
        assert [axes.get_position(original=True).bounds for axes in figure.axes] == before
        for axes, (left, *rest) in zip(figure.axes, before, strict=True):
            axes.set_position((left + noise, *rest))
        for part in figure.subfigs:
            part.bbox_relative.set_points(part.bbox_relative.get_points() + noise)
        settle_layout(figure)
        places = [axes.get_position(original=True).bounds for axes in figure.axes]
        places += [part.bbox_relative.bounds for part in figure.subfigs]
        laid_out.append(places)
    assert laid_out[0] == laid_out[1]


def test_a_whole_body_has_the_names_of_body_and_feet_only(tmp_path: Path) -> None:
    samples = json_samples(make_whole_bodies(("S1", "S5"), step=3))
    data = sheet_of(load_dataset(DataConfig(name="h3wb"), write_json(tmp_path / "h", samples)))
    axes = axes_of(data, "joints, seen from the front")
    assert len(axes.texts) == 23
    assert render_sheet(data, "png").startswith(b"\x89PNG")


def elaborate(reach_m: float = 2.0) -> SheetData:
    """38 joints in a random tree, with names of 64 characters that are hard to draw."""
    draw = np.random.default_rng(0)
    parents = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15, *range(16, 37))
    points = np.zeros((38, 3))
    for joint in range(1, 38):
        points[joint] = points[parents[joint]] + draw.normal(0, 0.2, 3)
    points *= reach_m / np.abs(points).max()
    names = tuple(
        f"{joint} 関節 $x_{joint}$ {'of the elaborate body ' * 4}"[:64] for joint in range(38)
    )
    title = f"train: {'somebody does something ' * 4}\ncamera {'far away ' * 8}"
    pose = SheetPose(title, 500 + 100 * points[:, :2], (1000, 1000), points)
    return SheetData(
        title="own data " * 20,
        joints=names,
        parents=parents,
        left=(1, 2, 3, 11, 12, 13),
        right=(4, 5, 6, 14, 15, 16),
        labelled=tuple(range(38)),
        figure_m=np.stack([points[:, 0], -points[:, 1]], axis=1),
        poses=(pose, pose, pose),
        bone_lengths_mm={joint: [300.0 + joint, 280.0 + joint] for joint in range(1, 38)},
    )


@pytest.mark.parametrize("turned", [False, True])
def test_many_joints_with_long_names_stay_inside_the_picture(*, turned: bool) -> None:
    data = elaborate()
    if turned:
        data = dataclasses.replace(data, figure_m=data.figure_m[:, ::-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        render_sheet(data, "png")
        figure = skeleton_sheet(
            dataclasses.replace(data, joints=tuple("n" * 64 for _ in range(38)))
        )
        FigureCanvasAgg(figure)
        figure.draw_without_rendering()
    (tree,) = [a for a in figure.axes if a.get_title().startswith("joints, seen")]
    assert all(len(text.get_text()) <= 21 for text in tree.texts)
    assert all(text.get_text().endswith("…") for text in tree.texts)
    whole = figure.bbox
    for text in tree.texts:
        box = text.get_window_extent()
        assert whole.x0 <= box.x0 < box.x1 <= whole.x1 / 2
        assert whole.y0 <= box.y0 < box.y1 <= whole.y1
    for side in ("left", "right"):
        boxes = [t.get_window_extent() for t in tree.texts if t.get_horizontalalignment() == side]
        boxes.sort(key=lambda box: box.y0)
        assert len(boxes) == 19
        assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))


@pytest.mark.parametrize("reach_m", [0.8, 1.5, 3.0])
def test_3d_pictures_are_as_wide_as_the_body_needs(reach_m: float) -> None:
    drawn = [a for a in skeleton_sheet(elaborate(reach_m)).axes if a.get_title().startswith("3D")]
    assert len(drawn) == 6
    assert len({axes.get_xlim() for axes in drawn}) == 1
    for axes in drawn:
        for lines in axes.collections:
            if isinstance(lines, LineCollection):
                ends = np.concatenate(lines.get_segments())
                assert axes.get_xlim()[0] <= ends[:, 0].min()
                assert ends[:, 0].max() <= axes.get_xlim()[1]
                assert axes.get_ylim()[0] <= ends[:, 1].min()
                assert ends[:, 1].max() <= axes.get_ylim()[1]
