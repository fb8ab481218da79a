"""The tables of `tuner data`, which fit 80 columns without a terminal, too."""

from __future__ import annotations

from typing import Any

import pytest

from trainables.data.findings import Check
from tuner.cli._data_output import print_checks, print_inspection


def split_of(subjects: list[str]) -> dict[str, Any]:
    names = ("x_px", "y_px", "x_normalised", "right_m", "down_m", "forward_m", "distance_m")
    return {
        "frames": 1_559_752,
        "views": 6_239_008,
        "scored": 6_239_008,
        "sequences": 1_200,
        "subjects": subjects,
        "actions": ["walking"],
        "cameras": {
            "views": [f"cam{n}" for n in range(14)],
            "calibrated": 12,
            "of": 1_200,
            "image_sizes": [f"{n}048x2048" for n in range(1, 7)],
        },
        "fps": [23.976, 25.0, 50.0, 59.94, 120.0],
        "ranges": {name: [-10_000.0, 12_345.6] for name in names},
        "knees_bend_forward": 0.5,
        "reprojection_px": {"median": 123.45, "p99": 500.0, "max": 12_345.67},
    }


def test_every_table_of_inspect_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    limbs = [[f"l{bone}", f"r{bone}"] for bone in range(4)]
    lengths = {name: 400.0 + 50 * (name[0] == "r") for pair in limbs for name in pair}
    somebody = "somebody with a name of many words"
    print_inspection(
        {
            "dataset": "own",
            "hash": "0" * 64,
            "skeleton": {"name": "own", "joints": ["a", "b"], "limbs": limbs},
            "splits": {
                "train": split_of([f"S{n}" for n in range(1, 13)]),
                "val": split_of([somebody, "S2"]),
                "test": split_of(["S9", "S11"]),
            },
            "bone_lengths_mm": {"S1": lengths, somebody: lengths},
            "problems": [],
            "notes": [],
        }
    )
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "S1, S2, S3, S4, … (12)" in out
    assert "somebody with a … (2)" in out
    assert "S9, S11 " in out
    assert "4048x2048 " in out
    assert "5048x2048" not in out
    assert "and 2 more" in out


def test_the_table_of_verify_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    found = "123.45 px: somebody 'directing traffic 1' 54138969"
    expected = "<= 5%, < 10 in a row"
    check = Check("2D off, worst sequence", "train", found, expected, "problem", "train: far off")
    subject = Check("bones of every pose", "somebody else", "0.1 mm", "<= 30 mm", "ok")
    print_checks("own", "0" * 64, [check, subject], [])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for word in ("directing", "54138969", "problem: train: far off"):
        assert word in out
