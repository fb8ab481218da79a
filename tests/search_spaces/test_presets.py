from __future__ import annotations

import importlib.resources
from pathlib import Path

import pytest

from search_spaces import load_space, space_names

BUNDLED = ("paper", "quick", "standard", "wide")


def test_every_bundled_file_is_listed() -> None:
    folder = Path(str(importlib.resources.files("search_spaces"))) / "presets"
    assert tuple(sorted(path.stem for path in folder.rglob("*.yaml"))) == BUNDLED
    assert space_names() == BUNDLED


@pytest.mark.parametrize("name", BUNDLED)
def test_presets_load_under_their_own_name_and_have_grids(name: str) -> None:
    space = load_space(name)
    assert space.name == name
    assert space.description
    for stage in space.stages.values():
        assert stage.grid_points()


@pytest.mark.parametrize("name", BUNDLED)
def test_stage_three_repeats_the_alphas_of_stage_two(name: str) -> None:
    """They are paid for: the protocol imports them as finished (paper A.5)."""
    stages = load_space(name).stages
    third = {point["alpha"] for point in stages["alpha"].grid_points()}
    second = {point["alpha"] for point in stages["lr_l"].grid_points()}
    assert second < third


def test_the_papers_grid_is_that_of_its_table_8() -> None:
    stages = load_space("paper").stages
    assert stages["lr_p"].parameters["lr_p"].grid == (2e-5, 5e-5, 1e-4, 2e-4, 5e-4)
    assert stages["lr_l"].parameters["lr_l"].grid == (
        *(1e-5, 2e-5, 3e-5, 4e-5, 5e-5),
        *(1e-4, 2e-4, 5e-4),
    )
    assert stages["alpha"].parameters["alpha"].grid == (
        *(5e-5, 1e-4, 2e-4, 5e-4, 1e-3),
        *(2e-3, 3e-3, 4e-3, 5e-3, 6e-3, 1e-2),
    )
