"""`tuner spaces`: bundled search spaces, and files of one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from search_spaces import GreedySpace, load_space, space_names

Call = Callable[..., Any]


def test_every_bundled_space_is_listed_with_its_size(call: Call) -> None:
    listed = {space["name"]: space for space in call("spaces", "list", "--json").json()["spaces"]}
    assert tuple(listed) == space_names()
    assert listed["paper"]["grid_trainings"] == [5, 24, 8]
    done = call("spaces", "list")
    assert done.code == 0
    assert "5 + 24 + 8" in done.out
    assert load_space("negatives").description in done.out


def test_a_space_is_shown_in_full(call: Call) -> None:
    shown = call("spaces", "show", "negatives", "--json").json()
    shown.pop("grid_trainings")
    assert GreedySpace.model_validate(shown) == load_space("negatives")
    out = call("spaces", "show", "negatives").out
    assert "Table 7" in out
    (row,) = [line for line in out.splitlines() if "num_perturbations" in line]
    assert row.split() == ["lr_l", "num_perturbations", "K", "2", "8", "linear", "3"]


def test_a_file_is_checked_and_shown(call: Call) -> None:
    Path("mine.yaml").write_text(
        "name: mine\nextends: quick\nstages: {lr_p: {lr_p: {low: 1e-4, high: 1e-2, log: true}}}\n"
    )
    out = call("spaces", "show", "mine.yaml").out
    assert "stage by stage: no grid" in out
    assert "Source: not given" in out
    (row,) = [line for line in out.splitlines() if line.strip().startswith("lr_p ")]
    assert row.split() == ["lr_p", "lr_p", "η_φ", "0.0001", "0.01", "log", "-"]


def test_what_is_no_space_is_refused(call: Call) -> None:
    done = call("spaces", "show", "nosuch")
    assert (done.code, done.out) == (2, "")
    assert "unknown search space 'nosuch'; known: constraints" in done.err
