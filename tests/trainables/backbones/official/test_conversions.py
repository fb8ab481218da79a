"""What all conversions have in common, and what is read of a file."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import get_args

import pytest
import torch

from tests.trainables.backbones.official.published import PUBLISHED
from trainables.backbones import BACKBONES
from trainables.backbones.official._renaming import numbers_of, rename
from trainables.backbones.official.conversions import CONVERSIONS
from trainables.backbones.official.reading import read_published
from trainables.config import BackboneName, TrainingConfig
from trainables.errors import CheckpointError

NAMES = get_args(BackboneName)


def test_every_backbone_has_a_conversion() -> None:
    assert set(CONVERSIONS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_options_and_fields_are_ones_that_there_are(name: BackboneName) -> None:
    conversion = CONVERSIONS[name]
    known = inspect.signature(BACKBONES[name].build).parameters
    assert {*conversion.options, *conversion.needs, *conversion.assumed} <= set(known)
    assert set(conversion.fields) <= set(TrainingConfig.model_fields)


@pytest.mark.parametrize("name", NAMES)
def test_all_names_of_ours_are_converted_and_no_others(name: BackboneName) -> None:
    case, conversion = PUBLISHED[name], CONVERSIONS[name]
    own = case.build().state_dict()
    assert set(conversion.convert(case.state())) == set(own)
    assert set(conversion.names(case.state()).values()) == set(own)


@pytest.mark.parametrize("name", NAMES)
def test_names_tell_one_net_from_all_others(name: BackboneName) -> None:
    state = PUBLISHED[name].state()
    assert [other for other, c in CONVERSIONS.items() if c.fits(state)] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_without_blocks_is_refused(name: BackboneName) -> None:
    with pytest.raises(CheckpointError, match="missing"):
        CONVERSIONS[name].convert({"nose": torch.zeros(1)})


def test_sizes_of_a_net_without_blocks_are_refused() -> None:
    state = {n: v for n, v in PUBLISHED["mixste"].state().items() if "blocks" not in n}
    conversion = CONVERSIONS["mixste"]
    converted = conversion.convert(state)
    with pytest.raises(CheckpointError, match="it has no block at all"):
        conversion.sizes(converted, state)


def test_sizes_of_tensors_with_other_axes_are_refused() -> None:
    state = PUBLISHED["mixste"].state() | {"Temporal_pos_embed": torch.zeros(6)}
    conversion = CONVERSIONS["mixste"]
    with pytest.raises(CheckpointError, match=r"temporal_table has shape \(6,\), expected at le"):
        conversion.sizes(conversion.convert(state), state)


def test_a_number_in_a_name_makes_no_more_blocks_than_entries() -> None:
    state = {"layers.999999999.weight": torch.zeros(1), "layers.0.weight": torch.zeros(1)}
    assert numbers_of(state, "layers") == range(2)
    with pytest.raises(CheckpointError, match=r"unknown: .*layers\.999999999\.weight"):
        CONVERSIONS["motionagformer"].convert(state)


def test_long_lists_of_names_are_cut_and_characters_are_harmless() -> None:
    state = {f"a\x1b[{number:03}": torch.zeros(1) for number in range(130)}
    with pytest.raises(CheckpointError, match=r"130 unknown: .*and 30 more$") as error:
        rename(state, {}, net="Nose")
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize("entry", ["model_pos", "state_dict", "model", "model_state_dict", "net"])
def test_the_parameters_are_found_in_any_usual_entry(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "a.pt"
    torch.save({"epoch": 1, entry: {"module.a": torch.ones(2)}}, path)
    found = read_published(path, ("other",))
    assert (found.entry, found.left_out, list(found.state)) == (entry, ("epoch",), ["a"])


def test_a_net_s_own_entry_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    states = {name: {name: torch.ones(1)} for name in ("model_pos", "model")}
    torch.save(states, path)
    assert read_published(path, ("model",)).entry == "model"
    assert read_published(path).entry == "model_pos"


def test_tensors_without_values_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"a": torch.zeros(2, device="meta")}, path)
    with pytest.raises(CheckpointError, match=r"a is no plain tensor of numbers .* on meta"):
        read_published(path)
