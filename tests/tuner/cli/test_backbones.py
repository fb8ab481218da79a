"""`tuner backbones`: the counts of the official classes, recipes, and a table for people."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from tests.tuner.cli.conftest import Call
from trainables.config import BackboneName, TrainingConfig

COUNTS = {
    "videopose": {17: 4_291_635, 133: 4_885_903},
    "simplebaseline": {17: 4_296_755, 133: 4_891_023},
    "semgcn": {17: 267_373, 133: 270_853},
    "mixste": {17: 33_783_811},
    "pstmo": {17: 5_527_142},
    "poseformerv2": {17: 14_355_739},
    "d3dp": {17: 34_835_459},
    "ktpformer": {17: 35_213_430},
    "motionagformer": {17: 18_998_687},
}
"""Counted in the official classes; with 133 joints where the paper trains on them."""

VARIANTS: dict[str, list[tuple[dict[str, Any], int]]] = {
    "videopose": [
        ({"widths": [1, 1, 1, 1]}, 6_392_883),
        ({"widths": [1, 1, 1, 1, 1]}, 8_494_131),
        ({"widths": [3, 3, 3]}, 8_555_571),
        ({"widths": [3, 3, 3, 3, 3]}, 16_952_371),
    ],
    "simplebaseline": [({}, 4_291_632)],
    "semgcn": [({}, 267_343), ({"non_local": True}, 434_703)],
    "mixste": [({"frames": 81}, 33_700_867), ({"frames": 27}, 33_673_219)],
    "pstmo": [
        ({"frames": 243}, 6_482_278),
        ({"frames": 27}, 4_682_598),
        ({"frames": 243, "depth": 4}, 7_009_382),
    ],
    "poseformerv2": [
        ({"kept_frames": 1}, 14_354_649),
        ({"frames": 81, "kept_frames": 9, "kept_coefficients": 9}, 14_362_279),
        ({"frames": 243, "kept_frames": 27, "kept_coefficients": 27}, 14_381_899),
    ],
    "d3dp": [
        ({"frames": 81}, 34_752_515),
        ({"frames": 27}, 34_724_867),
        ({"denoiser": "ktpformer"}, 36_266_614),  # derived: its code was not released
    ],
    "ktpformer": [({"frames": 81}, 34_859_622), ({"frames": 27}, 34_765_014)],
    "motionagformer": [
        ({"frames": 243}, 19_007_111),
        ({"frames": 27}, 18_995_879),
        ({"depth": 16}, 11_718_627),
        ({"width": 64}, 4_817_119),
        ({"width": 64, "depth": 12, "frames": 27}, 2_241_531),
    ],
}
"""The other sizes of the official classes; SimpleBaseline's and SemGCN's have 16 joints."""


def listed(call: Call) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in call("backbones", "--json").json()}


def test_backbones_are_counted_at_the_official_sizes(call: Call) -> None:
    rows = listed(call)
    assert list(rows) == list(get_args(BackboneName))
    assert {name: row["parameters"] for name, row in rows.items()} == {
        name: counts[17] for name, counts in COUNTS.items()
    }
    for name, counts in COUNTS.items():
        found = rows[name]["parameters_by_joints"]
        assert {joints: found[str(joints)] for joints in counts} == counts
        assert set(found) == {"17", "133"}
    assert {
        name: [(v["options"], v["parameters"]) for v in row["variants"]]
        for name, row in rows.items()
    } == VARIANTS
    sixteen = (v for name in ("simplebaseline", "semgcn") for v in rows[name]["variants"])
    assert {v["joints"] for v in sixteen} == {16}


def test_backbones_say_how_they_see_a_sequence(call: Call) -> None:
    rows = listed(call)
    found = {n: (r["frames"], r["output"], r["windows"]["test"]) for n, r in rows.items()}
    assert found == {
        **dict.fromkeys(("videopose", "simplebaseline", "semgcn"), (1, "middle", "single frames")),
        "mixste": (243, "all", "touching"),
        "pstmo": (81, "middle", "sliding"),
        "poseformerv2": (27, "middle", "sliding"),
        "d3dp": (243, "all", "touching"),
        "ktpformer": (243, "all", "touching"),
        "motionagformer": (81, "all", "touching"),
    }
    assert rows["motionagformer"]["windows"]["test_by_dataset"] == {"mpi_inf_3dhp": "sliding"}
    assert rows["mixste"]["windows"]["training_step"] == 243


def test_backbones_name_their_recipes(call: Call) -> None:
    rows = listed(call)
    assert {name: row["official_pose_loss"] for name, row in rows.items()} == {
        **{"videopose": "mpjpe", "simplebaseline": "mse", "semgcn": "mse", "mixste": "mixste"},
        **{"pstmo": "pstmo", "poseformerv2": "mpjpe", "d3dp": "mpjpe", "ktpformer": "mixste"},
        "motionagformer": "motionagformer",
    }
    for row in rows.values():
        assert set(row["recipe"]) <= set(TrainingConfig.model_fields)
        assert row["recipe"]["batch_size"] >= 2
        assert row["official_recipe"]
        for own in row["recipe_by_dataset"].values():
            assert set(own) <= set(TrainingConfig.model_fields)
    assert (rows["mixste"]["lr_p"], rows["mixste"]["recipe"]["epochs"]) == (4e-5, 120)
    assert rows["poseformerv2"]["lr_p_by_dataset"] == {"mpi_inf_3dhp": 7e-4}
    single = [row["recipe"] for row in rows.values() if row["frames"] == 1]
    assert {(r["batch_size"], r["epochs"]) for r in single} == {(1024, 50)}
    assert rows["videopose"]["recipe_by_dataset"]["h3wb"] == {"batch_size": 64, "epochs": 200}


def test_backbones_say_what_published_checkpoints_need(call: Call) -> None:
    rows = listed(call)
    assert rows["motionagformer"]["published"] == {
        "entries": ["model"],
        "options": {"graph": "official"},
    }
    assert rows["pstmo"]["published"]["options"] == {"centred": False}


def test_backbones_for_people(call: Call) -> None:
    done = call("backbones")
    assert done.code == 0
    (row,) = (line.split() for line in done.out.splitlines() if line.strip().startswith("mixste"))
    assert row[:5] == ["mixste", "33,783,811", "243", "243", "mixste"]
    (row,) = (line.split() for line in done.out.splitlines() if line.strip().startswith("pstmo"))
    assert row[:5] == ["pstmo", "5,527,142", "81", "1", "pstmo"]


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_broken_in_a_terminal(
    call: Call, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    from rich.console import Console

    monkeypatch.setattr(
        "tuner.cli._output.output_console", lambda: Console(highlight=False, width=width)
    )
    monkeypatch.setattr(
        "tuner.cli.backbones.output_console", lambda: Console(highlight=False, width=width)
    )
    lines = call("backbones").out.splitlines()
    assert max(map(len, lines)) <= width
    names = get_args(BackboneName)
    assert all(sum(line.strip().startswith(f"{name} ") for line in lines) == 1 for name in names)
    # heading, rule, nine nets, nine descriptions, an empty line on either side of the table
    assert len(lines) == 2 + 9 + 9 + 2
