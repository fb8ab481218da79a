"""The skeleton sheet: a picture by which a person sees that joints are where they belong."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from tuner.reports.layout import settle_layout

__all__ = ["FORMATS", "SheetData", "SheetPose", "render_sheet", "skeleton_sheet"]

FORMATS = ("png", "svg", "pdf")
LEFT_COLOUR = "#1f6feb"
RIGHT_COLOUR = "#d9480f"
MIDDLE_COLOUR = "#57606a"
GROUND_COLOUR = "#d0d7de"
TEXT_COLOUR = "#24292f"
DOTS_PER_INCH = 130
SIZE_INCHES = (12.0, 8.5)
CROWDED_BARS = 20
"""More bars have smaller and steeper names."""
ALL_BONES_BELOW = 40
"""Skeletons with more joints have bars for the labelled joints' bones only."""
TURNS_DEGREES = (30.0, 120.0)
"""About the vertical, from the camera's view."""
REACH_M = 1.05
"""Half the width of a 3D picture, or more: most bodies reach a metre from their middle."""
MARGIN = 1.05
GRID_SHARE = 0.7
"""Of that: half the width of the ground."""
LABEL_LENGTH = 18
BONE_END_LENGTH = 12
LINE_LENGTH = 32
TITLE_LENGTH = 90
"""Longer names are cut, in characters."""
ELEVATION_DEGREES = 15.0

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class SheetPose:
    """One pose.

    Attributes:
        title: What it is.
        pixels: 2D key points, pixels, (J, 2).
        size: Width and height of its image, pixels; None if unknown.
        points_m: 3D in the camera's frame (x right, y down, z forward), metres, (J, 3).
    """

    title: str
    pixels: Floats
    size: tuple[int, int] | None
    points_m: Floats


@dataclass(frozen=True)
class SheetData:
    """What a sheet shows.

    Attributes:
        title: Name of the data set and its skeleton.
        joints: Joint names.
        parents: Parent of each joint, -1 for the root.
        left: Left joints.
        right: Their right counterparts, in matching order.
        labelled: Joints that are named in the picture.
        figure_m: A pose as seen from the front: right of the picture is the body's left, up is
            up; metres, (J, 2).
        poses: Poses to show, three or so.
        bone_lengths_mm: Length of the bone that ends at a joint (by index), one value for each
            subject, millimetres.
    """

    title: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    labelled: tuple[int, ...]
    figure_m: Floats
    poses: tuple[SheetPose, ...]
    bone_lengths_mm: Mapping[int, Sequence[float]]

    def colour(self, joint: int) -> str:
        """Colour of a joint and of the bone that ends at it."""
        if joint in self.left:
            return LEFT_COLOUR
        return RIGHT_COLOUR if joint in self.right else MIDDLE_COLOUR


def render_sheet(data: SheetData, file_format: str) -> bytes:
    """Draw the sheet as a file; equal data give equal bytes.

    Args:
        data: What it shows.
        file_format: One of `FORMATS`.
    """
    import warnings

    from matplotlib import rc_context

    buffer = io.BytesIO()
    undated = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    # names are plain text, and of any script: what the font lacks is drawn as boxes
    with (
        rc_context({"svg.hashsalt": "skeleton sheet", "text.parse_math": False}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = skeleton_sheet(data)
        settle_layout(figure)
        figure.savefig(
            buffer, format=file_format, dpi=DOTS_PER_INCH, metadata=undated[file_format]
        )
    return buffer.getvalue()


def skeleton_sheet(data: SheetData) -> Figure:
    """Draw the labelled tree, poses in 2D and 3D, and bone lengths."""
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    figure.suptitle(_shortened(data.title, TITLE_LENGTH), color=TEXT_COLOUR, fontsize=13)
    left, right = _halves(figure)
    tree, bars = left.subplots(2, 1, height_ratios=(1.35, 1.0))
    _draw_tree(tree, data)
    _draw_bars(bars, data)
    _draw_poses(right, data)
    handles = [
        Line2D([], [], color=colour, lw=3, label=label)
        for colour, label in (
            (LEFT_COLOUR, "the body's left"),
            (RIGHT_COLOUR, "the body's right"),
            (MIDDLE_COLOUR, "middle"),
        )
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _shortened(text: str, length: int = LABEL_LENGTH) -> str:
    """The text, or as much of it as there is room for."""
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def _halves(figure: Figure) -> tuple[SubFigure, SubFigure]:
    """Room for the skeleton, and for the poses."""
    grid = figure.add_gridspec(1, 2, width_ratios=(0.82, 1.0))
    return figure.add_subfigure(grid[0, 0]), figure.add_subfigure(grid[0, 1])


def _draw_body(axes: Axes, data: SheetData, points: Floats, *, size: float = 2.0) -> None:
    """Bones and joints of a pose given in the plane of the picture, (J, 2)."""
    children = [joint for joint, parent in enumerate(data.parents) if parent >= 0]
    segments = [(points[data.parents[joint]], points[joint]) for joint in children]
    thin = len(data.joints) > ALL_BONES_BELOW
    colours = [data.colour(joint) for joint in children]
    axes.add_collection(LineCollection(segments, colors=colours, linewidths=0.7 if thin else size))
    axes.scatter(
        points[:, 0],
        points[:, 1],
        s=1.5 if thin else 3 * size,
        c=[data.colour(joint) for joint in range(len(data.joints))],
        zorder=3,
    )


def _draw_tree(axes: Axes, data: SheetData) -> None:
    """The body from the front, names in two columns beside it."""
    points = data.figure_m
    _draw_body(axes, data, points, size=2.5)
    low, high = points.min(axis=0), points.max(axis=0)
    extent, middle = float((high - low).max()), float(low[0] + high[0]) / 2
    reach = max(float(high[0] - low[0]) / 2, 0.25 * extent) + 0.09 * extent
    label_heights = [float(low[1]), float(high[1])]
    for side, joints in _label_columns(data).items():
        ordered = sorted(joints, key=lambda joint: -float(points[joint, 1]))
        heights = _spread(points[ordered, 1], extent)
        label_heights.extend(heights)
        for joint, label_y in zip(ordered, heights, strict=True):
            edge = middle + side * reach
            axes.plot(
                (points[joint, 0], edge), (points[joint, 1], label_y), color=GROUND_COLOUR, lw=0.7
            )
            axes.text(
                edge + side * 0.01 * extent,
                label_y,
                f"{joint} {_shortened(data.joints[joint])}",
                ha="left" if side > 0 else "right",
                va="center",
                fontsize=8,
                color=data.colour(joint),
            )
    margin = 0.06 * extent
    axes.set_xlim(middle - reach - 0.55 * extent, middle + reach + 0.55 * extent)
    axes.set_ylim(min(label_heights) - margin, max(label_heights) + margin)
    axes.set_title("joints, seen from the front", fontsize=10, color=TEXT_COLOUR)
    axes.set_aspect("equal")
    axes.axis("off")


def _label_columns(data: SheetData) -> dict[int, list[int]]:
    """The joints that are named to the right (-1) and the left (1) of the body."""
    columns: dict[int, list[int]] = {-1: [], 1: []}
    for joint in data.labelled:
        if joint in data.left or joint in data.right:
            columns[1 if joint in data.left else -1].append(joint)
    for joint in data.labelled:
        if joint not in data.left and joint not in data.right:
            columns[min(columns, key=lambda side: len(columns[side]))].append(joint)
    return columns


def _spread(heights: Floats, extent: float) -> list[float]:
    """Label heights near the wanted ones, from the top, none upon another."""
    gap = 0.062 * extent
    placed: list[float] = []
    for wanted in heights:
        placed.append(min(float(wanted), placed[-1] - gap) if placed else float(wanted))
    if not placed:
        return []
    overhang = (placed[0] + placed[-1] - float(heights[0]) - float(heights[-1])) / 2
    return [height - overhang for height in placed]


def _draw_bars(axes: Axes, data: SheetData) -> None:
    """Mean bone lengths, left beside right; whiskers from the shortest subject to the longest."""
    shown = range(len(data.joints)) if len(data.joints) <= ALL_BONES_BELOW else data.labelled
    rows = [
        ((left, LEFT_COLOUR, -0.2), (right, RIGHT_COLOUR, 0.2))
        for left, right in zip(data.left, data.right, strict=True)
        if left in shown and left in data.bone_lengths_mm
    ]
    middle = [
        ((joint, MIDDLE_COLOUR, 0.0),)
        for joint in shown
        if joint in data.bone_lengths_mm and joint not in (*data.left, *data.right)
    ]
    names = []
    for place, bars in enumerate([*rows, *middle]):
        for joint, colour, shift in bars:
            lengths = data.bone_lengths_mm[joint]
            mean = float(np.mean(lengths))
            spread = [[mean - min(lengths)], [max(lengths) - mean]]
            axes.bar(place + shift, mean, width=0.38, color=colour)
            axes.errorbar(place + shift, mean, yerr=spread, color=TEXT_COLOUR, lw=0.8, capsize=1.5)
        first = bars[0][0]
        ends = (_side_free(data.joints[joint]) for joint in (data.parents[first], first))
        names.append(" to ".join(_shortened(end, BONE_END_LENGTH) for end in ends))
    crowded = len(names) > CROWDED_BARS
    axes.set_xticks(
        range(len(names)),
        names,
        rotation=70 if crowded else 40,
        ha="right",
        rotation_mode="anchor",
        fontsize=5.5 if crowded else 7.5,
    )
    axes.set_ylabel("bone length (mm)", fontsize=9)
    subjects = max((len(lengths) for lengths in data.bone_lengths_mm.values()), default=0)
    axes.set_title(
        f"bone lengths: mean and range of {subjects} subject{'s' if subjects != 1 else ''}",
        fontsize=10,
        color=TEXT_COLOUR,
    )
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _side_free(name: str) -> str:
    """A joint's name for both sides."""
    return " ".join(word.removeprefix("l_").replace("_", " ") for word in name.split(" "))


def _draw_poses(figure: SubFigure, data: SheetData) -> None:
    """A column for each pose: in its image, and in 3D from two sides."""
    reach_m = _reach_m(data)
    rows = figure.subplots(1 + len(TURNS_DEGREES), len(data.poses), squeeze=False)
    for column, pose in enumerate(data.poses):
        _draw_image(rows[0, column], data, pose)
        for turn, axes in zip(TURNS_DEGREES, rows[1:, column], strict=True):
            _draw_3d(axes, data, pose, turn, reach_m)
            axes.set_title(f"3D, turned by {turn:.0f}°", fontsize=8, color=TEXT_COLOUR)


def _draw_image(axes: Axes, data: SheetData, pose: SheetPose) -> None:
    if pose.size is not None:
        width, height = pose.size
        axes.add_patch(
            Rectangle((0, 0), width, height, facecolor="#f6f8fa", edgecolor=MIDDLE_COLOUR, lw=0.8)
        )
        axes.set_xlim(-0.02 * width, 1.02 * width)
        axes.set_ylim(1.02 * height, -0.02 * height)
        axes.set_xticks((0, width))
        axes.set_yticks((0, height))
    else:
        axes.invert_yaxis()
    _draw_body(axes, data, pose.pixels, size=1.5)
    axes.set_aspect("equal")
    lines = (_shortened(line, LINE_LENGTH) for line in pose.title.splitlines())
    axes.set_title("\n".join(lines), fontsize=8, color=TEXT_COLOUR)
    axes.tick_params(labelsize=7, length=2)
    axes.spines[:].set_visible(False)


def _reach_m(data: SheetData) -> float:
    """Half the width of the 3D pictures, so that all poses fit and are drawn to one scale."""
    seen = [
        np.abs(_turned(_centred(pose), turn)).max()
        for pose in data.poses
        for turn in TURNS_DEGREES
    ]
    return max([REACH_M, *(MARGIN * float(reach) for reach in seen)])


def _centred(pose: SheetPose) -> Floats:
    low, high = pose.points_m.min(axis=0), pose.points_m.max(axis=0)
    return np.asarray(pose.points_m - (low + high) / 2)


def _draw_3d(
    axes: Axes, data: SheetData, pose: SheetPose, azimuth_degrees: float, reach_m: float
) -> None:
    """A parallel projection over a square grid beneath the body."""
    centred = _centred(pose)
    ground, edge = float(centred[:, 1].max()), GRID_SHARE * reach_m
    lines = np.linspace(-edge, edge, 5)
    grid = [((a, ground, -edge), (a, ground, edge)) for a in lines]
    grid += [((-edge, ground, a), (edge, ground, a)) for a in lines]
    axes.add_collection(
        LineCollection(
            [_turned(np.asarray(line), azimuth_degrees) for line in grid],
            colors=GROUND_COLOUR,
            linewidths=0.6,
        )
    )
    _draw_body(axes, data, _turned(centred, azimuth_degrees), size=1.5)
    axes.set_aspect("equal")
    axes.set_xlim(-reach_m, reach_m)
    axes.set_ylim(-1.4 * reach_m, 1.1 * reach_m)
    axes.axis("off")


def _turned(points_m: Floats, azimuth_degrees: float) -> Floats:
    """Camera-frame points turned about the vertical, seen from a little above, (N, 2)."""
    azimuth, elevation = np.radians((azimuth_degrees, ELEVATION_DEGREES))
    x, up, depth = points_m[:, 0], -points_m[:, 1], points_m[:, 2]
    across = np.cos(azimuth) * x + np.sin(azimuth) * depth
    away = -np.sin(azimuth) * x + np.cos(azimuth) * depth
    return np.stack([across, np.cos(elevation) * up + np.sin(elevation) * away], axis=1)
