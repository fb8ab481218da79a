"""YAML in which every key stands once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from search_spaces import SpaceError, load_space, parse_yaml

TWICE = """\
name: mine
extends: quick
stages:
  lr_l:
    alpha: {grid: [1.0e-3]}
    pair_weight: {grid: [1.0e-3]}
    "alpha": {grid: [5.0e-3]}
"""


def test_a_key_given_twice_is_refused_with_file_key_and_lines(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(TWICE, encoding="utf-8")
    expected = (
        r"space\.yaml is not valid YAML: line 7: key 'alpha' is given twice, first in line 5"
    )
    with pytest.raises(SpaceError, match=expected):
        load_space(str(path))


@pytest.mark.parametrize("text", ["{a: 1, a: 1}", "- {b: {1: x, 1: y}}", "? a\n: 1\n? a\n: 2"])
def test_wherever_it_stands_and_whatever_its_values(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="is given twice"):
        parse_yaml(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: {x: 1}\nb: {x: 1}", {"a": {"x": 1}, "b": {"x": 1}}),
        ("{1: a, '1': b}", {1: "a", "1": "b"}),
        (
            "a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, x: 4}",
            {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}, "c": {"x": 4, "y": 2}},
        ),
        ("", None),
    ],
)
def test_other_mappings_are_read_as_ever(text: str, value: object) -> None:
    assert parse_yaml(text) == value
