from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces import (
    HYPERPARAMETERS,
    OPTIONAL_PARAMETERS,
    STAGE_PARAMETERS,
    GreedySpace,
    IntParameter,
    SpaceError,
    StageSpace,
    load_space,
)

GOOD = """\
name: mine
stages:
  alpha: {alpha: {grid: [1e-3]}}
  lr_l:
    lr_l: {low: 1e-5, high: 1e-3, log: true}
    alpha: {grid: [2e-3, 1e-3]}
  lr_p: {lr_p: {grid: [1e-3, 1e-4]}}
"""


def write(folder: Path, text: str) -> str:
    path = folder / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_is_read_and_stages_take_the_protocols_order(tmp_path: Path) -> None:
    space = load_space(write(tmp_path, GOOD))
    assert space.name == "mine"
    assert tuple(space.stages) == ("lr_p", "lr_l", "alpha")
    assert space.stages["lr_l"].names == ("lr_l", "alpha")


def test_grid_points_vary_the_last_parameter_fastest() -> None:
    stage = StageSpace.model_validate({"lr_l": {"grid": [2, 1]}, "alpha": {"grid": [3, 4]}})
    assert stage.grid_points() == [
        {"lr_l": 2.0, "alpha": 3.0},
        {"lr_l": 2.0, "alpha": 4.0},
        {"lr_l": 1.0, "alpha": 3.0},
        {"lr_l": 1.0, "alpha": 4.0},
    ]


def test_a_range_has_no_grid_points(tmp_path: Path) -> None:
    space = load_space(write(tmp_path, GOOD))
    with pytest.raises(SpaceError, match=r"lr_l: found a range, expected a grid"):
        space.stages["lr_l"].grid_points()


def test_distributions_read_back_equal(tmp_path: Path) -> None:
    stage = load_space(write(tmp_path, GOOD)).stages["lr_l"]
    assert StageSpace.model_validate(stage.distributions()) == stage


def test_all_faults_are_listed_at_once(tmp_path: Path) -> None:
    text = """\
name: bad
stages:
  lr_p: {lr_p: {low: -1, high: 1e-3}}
  lr_l:
    lr_l: {low: 1e-3, high: 1e-4}
    alpha: {grid: [true]}
    beta: {grid: [1], lo: 3}
  alpha: {alpha: {grid: [-1e-3]}}
"""
    with pytest.raises(SpaceError, match="5 problems") as caught:
        load_space(write(tmp_path, text))
    message = str(caught.value)
    for line in (
        "stages.lr_p.lr_p.low = -1.0: must be > 0, being a learning rate",
        "stages.lr_l.lr_l.low = 0.001: must be below high = 0.0001",
        "stages.lr_l.alpha.grid.0 = True: expected a number",
        "stages.lr_l.beta.lo = 3: extra inputs are not permitted",
        "stages.alpha.alpha.low = -0.001: must be > 0, being the energy's weight",
    ):
        assert line in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "found list, expected a mapping"),
        ("a: [", "not valid YAML"),
        ("", "found NoneType, expected a mapping"),
        ("stages: {}", r"name: field required"),
        (GOOD.replace("  lr_p: {", "  lrp: {"), r"stages.lr_p = 'nothing': must be given"),
        (GOOD.replace("  lr_p: {", "  lrp: {"), r"stages.lrp = .*: is no stage"),
        (GOOD.replace("{lr_p:", "{lr_l:"), r"stages.lr_p = \['lr_l'\]: must tune lr_p, and may"),
        (GOOD + "extra: 1\n", "extra = 1: extra inputs"),
        (GOOD.replace("{alpha: {grid: [1e-3]}}", "{}"), "must tune at least one"),
    ],
)
def test_malformed_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        load_space(write(tmp_path, text))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SpaceError, match="unknown search space 'nosuch'; known: constraints"):
        load_space("nosuch")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"nosuch\.yaml cannot be read: No such file"):
        load_space(str(tmp_path / "nosuch.yaml"))


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpaceError, match="not UTF-8"):
        load_space(str(path))


def test_a_yaml_tag_does_not_run_code(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="not valid YAML"):
        load_space(write(tmp_path, "name: !!python/object/apply:os.getcwd []"))


def test_a_space_cannot_be_changed() -> None:
    space = load_space("quick")
    with pytest.raises(ValueError, match="frozen"):
        space.name = "other"


def test_spaces_are_equal_by_value() -> None:
    assert load_space("quick") == load_space("quick")
    assert isinstance(load_space("quick"), GreedySpace)


EXTENDED = """\
name: mine
extends: quick
stages:
  lr_l:
    alpha: {grid: [1e-3]}
    num_perturbations: {grid: [2, 4]}
    pair_weight: {grid: [1e-3]}
"""


def test_a_space_takes_over_what_it_does_not_say(tmp_path: Path) -> None:
    space = load_space(write(tmp_path, EXTENDED))
    quick = load_space("quick")
    assert (space.name, space.description, space.source) == ("mine", "", "")
    for stage in ("lr_p", "alpha"):
        assert space.stages[stage] == quick.stages[stage]
    second = space.stages["lr_l"]
    assert second.names == ("lr_l", "alpha", "num_perturbations", "pair_weight")
    assert second.parameters["lr_l"] == quick.stages["lr_l"].parameters["lr_l"]
    assert second.parameters["num_perturbations"] == IntParameter(low=2, high=4, grid=(2, 4))
    assert StageSpace.model_validate(second.distributions()) == second


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: nosuch\n", "extends = 'nosuch': expected a bundled space, one of constraints"),
        ("extends: [quick]\n", r"extends = \['quick'\]: expected a bundled space"),
        ("extends: quick\n", "name: field required"),
        ("name: a\nextends: quick\nstages: 3\n", "stages = 3: input should be a valid"),
        ("name: a\nextends: quick\nstages: {lr_l: 3}\n", "stages.lr_l = 3: input should be"),
        (
            "name: a\nextends: quick\nstages: {lr_l: {alpha: {grid: []}}}\n",
            "stages.lr_l.alpha.grid = .*: must hold at least one",
        ),
    ],
)
def test_bad_extensions_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        load_space(write(tmp_path, text))


@pytest.mark.parametrize(
    ("stage", "name", "message"),
    [
        ("lr_p", "num_perturbations", "must tune lr_p, and may tune length_weight"),
        ("lr_l", "length_weight", "must tune lr_l, alpha, and may tune margin_scale"),
        ("alpha", "margin_scale", "must tune alpha, and nothing else"),
    ],
)
def test_each_stage_takes_its_own_extra_axes_only(
    tmp_path: Path, stage: str, name: str, message: str
) -> None:
    text = f"name: a\nextends: quick\nstages: {{{stage}: {{{name}: {{grid: [1]}}}}}}\n"
    with pytest.raises(SpaceError, match=message):
        load_space(write(tmp_path, text))


def test_every_name_that_a_stage_takes_is_described_and_belongs_to_one_stage() -> None:
    optional = [name for names in OPTIONAL_PARAMETERS.values() for name in names]
    required = {name for names in STAGE_PARAMETERS.values() for name in names}
    assert len(optional) == len(set(optional))
    assert required | set(optional) == set(HYPERPARAMETERS)
    assert not required & set(optional)
    assert tuple(OPTIONAL_PARAMETERS) == tuple(STAGE_PARAMETERS)


def test_corners_are_the_ends_of_all_ranges() -> None:
    stage = StageSpace.model_validate({"a": {"low": 1, "high": 2}, "b": {"grid": [5, 3, 4]}})
    assert stage.corners() == [
        {"a": 1.0, "b": 3.0},
        {"a": 1.0, "b": 5.0},
        {"a": 2.0, "b": 3.0},
        {"a": 2.0, "b": 5.0},
    ]


def test_trainings_of_the_grid_leave_out_what_stage_two_has_trained(tmp_path: Path) -> None:
    assert load_space("paper").grid_trainings() == (5, 24, 8)
    assert load_space(write(tmp_path, EXTENDED)).grid_trainings() == (3, 4, 3)
    assert load_space(write(tmp_path, GOOD)).grid_trainings() is None
