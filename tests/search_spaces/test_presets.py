from __future__ import annotations

import importlib.resources
from pathlib import Path

import pytest

from search_spaces import (
    HYPERPARAMETERS,
    OPTIONAL_PARAMETERS,
    STAGE_PARAMETERS,
    IntParameter,
    load_space,
    space_names,
)

BACKBONES = ("semgcn", "simplebaseline", "videopose")
MULTI_FRAME = {
    "mixste": (4e-5,),
    "pstmo": (7e-4, 1e-3),
    "poseformerv2": (1e-4, 7e-4),
    "d3dp": (6e-5,),
    "ktpformer": (8e-5,),
    "motionagformer": (5e-4,),
}
"""Their authors' learning rates, on whichever data set."""

FORMS = (
    *((backbone, kind) for backbone in BACKBONES for kind in ("paper", "wide")),
    *((backbone, kind) for backbone in MULTI_FRAME for kind in ("paper", "standard", "wide")),
)
BUNDLED = tuple(
    sorted(
        [
            *("constraints", "negatives", "paper", "quick", "standard", "wide"),
            *(f"{backbone}-{kind}" for backbone, kind in FORMS),
        ]
    )
)


def test_every_bundled_file_is_listed() -> None:
    folder = Path(str(importlib.resources.files("search_spaces"))) / "presets"
    assert tuple(sorted(path.stem for path in folder.rglob("*.yaml"))) == BUNDLED
    assert space_names() == BUNDLED


@pytest.mark.parametrize("name", BUNDLED)
def test_presets_load_under_their_own_name_and_have_grids(name: str) -> None:
    space = load_space(name)
    assert space.name == name
    assert space.description
    assert space.source
    for stage in space.stages.values():
        assert stage.grid_points()


@pytest.mark.parametrize("name", BUNDLED)
def test_stage_three_repeats_the_alphas_of_stage_two(name: str) -> None:
    """They are paid for: the protocol imports them as finished (paper A.5)."""
    stages = load_space(name).stages
    third = {point["alpha"] for point in stages["alpha"].grid_points()}
    second = {point["alpha"] for point in stages["lr_l"].grid_points()}
    assert second < third


@pytest.mark.parametrize("name", [name for name in BUNDLED if name != "quick"])
def test_ranges_hold_the_paper_s_winner(name: str) -> None:
    """Except for `quick`, meant for short trainings, they hold the values of A.5."""
    stages = load_space(name).stages
    for stage, tuned, value in (
        ("lr_p", "lr_p", 1e-4),
        ("lr_l", "lr_l", 1e-4),
        ("alpha", "alpha", 5e-3),
    ):
        parameter = stages[stage].parameters[tuned]
        assert parameter.low <= value <= parameter.high


@pytest.mark.parametrize(("backbone", "kind"), FORMS)
def test_backbones_differ_from_the_general_space_in_lr_p_alone(backbone: str, kind: str) -> None:
    own, general = load_space(f"{backbone}-{kind}").stages, load_space(kind).stages
    assert own["lr_l"] == general["lr_l"]
    assert own["alpha"] == general["alpha"]
    assert (own["lr_p"] == general["lr_p"]) is (backbone == "videopose")


@pytest.mark.parametrize("kind", ["paper", "standard", "wide"])
@pytest.mark.parametrize("backbone", MULTI_FRAME)
def test_spaces_of_multi_frame_nets_lie_around_their_authors_rates(
    backbone: str, kind: str
) -> None:
    space = load_space(f"{backbone}-{kind}")
    lr_p = space.stages["lr_p"].parameters["lr_p"]
    grid = lr_p.grid or ()
    for rate in MULTI_FRAME[backbone]:
        assert rate in grid
        assert lr_p.low < rate < lr_p.high
    assert "in metres" in space.source


@pytest.mark.parametrize("name", BUNDLED)
def test_energy_weights_are_spread_over_decades(name: str) -> None:
    for stage in ("lr_l", "alpha"):
        alpha = load_space(name).stages[stage].parameters["alpha"]
        assert alpha.log
        assert alpha.high / alpha.low >= 5.0


def test_the_space_of_negatives_holds_the_values_of_table_7() -> None:
    tuned = load_space("negatives").stages["lr_l"].parameters
    assert 1e-3 in (tuned["pair_weight"].grid or ())
    assert 3 in (tuned["num_perturbations"].grid or ())


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


PAGE = (Path(__file__).parents[2] / "docs" / "search_spaces.md").read_text(encoding="utf-8")


def test_the_page_names_every_space_and_hyperparameter() -> None:
    for name in (*BUNDLED, *HYPERPARAMETERS):
        assert f"`{name}`" in PAGE
    for stage, optional in OPTIONAL_PARAMETERS.items():
        (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{stage}` (")]
        assert all(f"`{name}`" in row for name in (*STAGE_PARAMETERS[stage], *optional))


def test_the_page_s_example_is_a_space(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(PAGE.partition("```yaml\n")[2].partition("```")[0], encoding="utf-8")
    tuned = load_space(str(path)).stages["lr_l"].parameters
    assert tuned["num_perturbations"] == IntParameter(low=2, high=6, grid=(3,))
    assert tuned["lr_l"] == load_space("wide").stages["lr_l"].parameters["lr_l"]
