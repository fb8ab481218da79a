"""What all conversions have in common, and what is read of a file."""

from __future__ import annotations

import inspect
import os
import zipfile
from pathlib import Path
from typing import get_args

import pytest
import torch

from tests.trainables.backbones.official.published import PUBLISHED
from trainables.backbones import BACKBONES
from trainables.backbones.official._renaming import numbers_of, rename
from trainables.backbones.official.conversions import CONVERSIONS
from trainables.backbones.official.reading import read_published
from trainables.backbones.official.sizes import check_bounds
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
    with pytest.raises(CheckpointError, match=r"130 unknown: .*\[009' and 120 more$") as error:
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


def test_tensors_that_repeat_what_the_file_holds_once_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"a": torch.zeros(1).expand(10**6, 10**6)}, path)
    with pytest.raises(CheckpointError, match=r"a claims shape \(1000000, 1000000\), 4,000,000,0"):
        read_published(path)
    torch.save({"a": torch.arange(4.0).as_strided((3, 2), (1, 1))}, path)
    with pytest.raises(CheckpointError, match="24 bytes, but the file holds 16 of them"):
        read_published(path)


def test_tensors_that_share_their_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    shared = torch.zeros(1000)
    torch.save({f"a{number}": shared for number in range(50)}, path)
    with pytest.raises(CheckpointError, match="its 50 tensors claim 200,000 bytes, but the file"):
        read_published(path)


def test_views_of_what_the_file_holds_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    whole = torch.arange(6.0).reshape(2, 3)
    torch.save({"a": whole[0], "b": whole[1], "c": torch.ones(2, 3).T}, path)
    assert read_published(path).state["b"].tolist() == [3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    ("name", "dtype", "expected"),
    [
        ("a", torch.int64, "floating-point numbers of 16 to 64 bits"),
        ("a", torch.bool, "floating-point"),
        ("a", torch.complex64, "floating-point"),
        ("a", torch.float8_e4m3fn, "floating-point"),
        ("bn.num_batches_tracked", torch.float32, "integers"),
    ],
)
def test_types_that_no_net_has_are_refused(
    tmp_path: Path, name: str, dtype: torch.dtype, expected: str
) -> None:
    path = tmp_path / "a.pt"
    torch.save({name: torch.zeros(2).to(dtype)}, path)
    with pytest.raises(CheckpointError, match=f"{name} has the type {dtype}, expected {expected}"):
        read_published(path)


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path, packed = tmp_path / "a.pt", tmp_path / "packed.pt"
    torch.save({"a": torch.zeros(10**5)}, path)
    with (
        zipfile.ZipFile(path) as archive,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as other,
    ):
        for entry in archive.infolist():
            other.writestr(entry.filename, archive.read(entry))
    assert torch.load(packed, weights_only=True)["a"].shape == (10**5,)  # torch takes it
    with pytest.raises(CheckpointError, match=r"but would unpack to 40.*torch compresses nothing"):
        read_published(packed)


@pytest.mark.timeout(20)
def test_what_may_have_no_end_is_not_opened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero"), tmp_path):
        with pytest.raises(CheckpointError, match="it is a folder, a pipe or a device"):
            read_published(path)


def test_a_file_beyond_all_published_ones_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with path.open("wb") as file:
        file.truncate(8 * 10**9 + 1)  # a hole: it takes no room
    with pytest.raises(CheckpointError, match="8,000,000,001 bytes, expected at most 8,000"):
        read_published(path)


def test_a_file_that_memory_cannot_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_arguments: object, **_options: object) -> None:
        raise MemoryError

    path = tmp_path / "a.pt"
    torch.save({"a": torch.zeros(2)}, path)
    for owner, name in ((torch, "load"), (Path, "read_bytes")):
        monkeypatch.setattr(owner, name, out_of_memory)
        with pytest.raises(CheckpointError, match="does not fit into this machine's memory"):
            read_published(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 10**7}, "frames would be 10000000, expected at most 4096"),
        ({"kept_frames": 4097}, "kept_frames would be 4097"),
        ({"widths": [3] * 20}, "receptive field, the product of widths, would be 3486784401"),
    ],
)
def test_windows_beyond_all_use_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        check_bounds(options)
    check_bounds({"frames": 351, "widths": [3] * 5, "heads": 10**6})


def test_schedules_beyond_all_use_are_refused() -> None:
    state = PUBLISHED["d3dp"].state() | {"alphas_cumprod": torch.zeros(10_001)}
    with pytest.raises(CheckpointError, match="alphas_cumprod has 10001 steps, expected at most"):
        CONVERSIONS["d3dp"].convert(state)
