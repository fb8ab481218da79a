"""docs/backbones.md says what `tuner backbones` says."""

from __future__ import annotations

import re
from pathlib import Path

from tests.tuner.cli.conftest import Call
from trainables.backbones.official.conversions import CONVERSIONS

PAGE = Path(__file__).parents[3] / "docs" / "backbones.md"


def rows_under(heading: str) -> dict[str, list[str]]:
    """Cells of the first table under a heading, by the first one."""
    text = PAGE.read_text(encoding="utf-8").split(f"{heading}\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table is not None
    rows = [
        [cell.strip(" `") for cell in line.strip("|").split(" | ")]
        for line in table[0].split("\n")
    ]
    return {row[0].strip(" `|"): row[1:] for row in rows[2:] if row[0]}


def test_the_table_of_nets_is_what_the_command_prints(call: Call) -> None:
    listed = call("backbones", "--json").json()
    expected = {
        row["name"]: (
            f"{row['parameters']:,}",
            f"{row['frames']} → {row['frames'] if row['output'] == 'all' else 1}",
            row["official_pose_loss"],
        )
        for row in listed
    }
    found = rows_under("## The nine nets")
    assert {name: tuple(cell.strip(" `|") for cell in row[1:]) for name, row in found.items()} == (
        expected
    )
    others = sum(len(row["variants"]) for row in listed)
    assert f"those of {others} other sizes" in PAGE.read_text(encoding="utf-8")


def test_every_net_has_a_recipe_and_a_conversion() -> None:
    assert set(rows_under("## Recipes")) == set(CONVERSIONS)
    conversions = rows_under("what is done to its names (the entry of the file first):")
    assert set(conversions) == set(CONVERSIONS)
    entries = {name: conversions[name][0] for name in CONVERSIONS}
    whole = {"pstmo": "the whole file"}
    assert entries == {name: c.entries[0] for name, c in CONVERSIONS.items()} | whole
