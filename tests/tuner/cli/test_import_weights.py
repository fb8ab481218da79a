"""`tuner import-weights` in this process: files under official names become nets of ours."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainables.backbones.official.published import (
    PUBLISHED,
    Published,
    semgcn_shapes,
    simplebaseline_shapes,
)
from tests.trainables.data.npz_writer import Calls
from tests.tuner.cli.conftest import Call, Done
from trainables.backbones import SemGCN
from trainables.checkpoint import load_checkpoint
from trainables.config import BackboneName
from trainables.skeletons import H36M_16
from tuner.wiring.lifter import load_lifter

CPU = torch.device("cpu")


def write(path: Path, state: dict[str, Tensor], entry: str | None = "model_pos") -> Path:
    content: Any = state if entry is None else {"epoch": 3, "lr": 1e-4, entry: state}
    torch.save(content, path)
    return path


def import_(call: Call, path: Path, backbone: str, *options: object) -> Done:
    return call(
        *("import-weights", path, "--backbone", backbone, "--to", "taken", "--home", "home"),
        *("--dataset", "sample", *options),
    )


def nothing_written(path: Path) -> bool:
    return not Path("home").exists() and {file.name for file in path.parent.iterdir()} <= {
        *("cwd", path.name)
    }


def test_every_backbone_has_a_published_checkpoint() -> None:
    assert set(PUBLISHED) == set(get_args(BackboneName))


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_imported_net_is_the_published_one(
    call: Call, tmp_path: Path, name: BackboneName, prefix: str
) -> None:
    case = PUBLISHED[name]
    state = {prefix + key: value for key, value in case.state().items()}
    path = write(tmp_path / "published.bin", state, case.entry)
    done = import_(call, path, name, *case.options, "--json")
    assert done.code == 0, done.err
    found = done.json()
    assert (found["entry"], found["left_out"]) == (case.entry, ["epoch", "lr"])
    assert found["entries"] == len(case.shapes)
    assert len(found["dropped"]) == (12 if name == "d3dp" else 0)
    lifter = load_lifter(Path(found["checkpoint"]), device=CPU)
    assert not lifter.net.training
    x = torch.randn(2, case.frames, case.joints, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, ours = case.net()(x), lifter.net(x)
    assert expected.isfinite().all()
    assert expected.std() > 1e-3
    assert torch.equal(ours, expected)


def test_what_was_done_is_said_and_kept(call: Call, tmp_path: Path) -> None:
    case = PUBLISHED["motionagformer"]
    path = write(tmp_path / "magf.pth", case.state(), "model")
    done = import_(call, path, "motionagformer")
    assert done.code == 0, done.err
    for text in (
        "imported from magf.pth (its entry model), sha256 ",
        "2 of them renamed; joints of h36m_17 (sample)",
        "graph=official",
        "assumed, as published, since no shape tells: heads=8, neighbours=2",
        "left out of the file: epoch, lr",
        "note: the graph of the joints is the release's (graph=official)",
        "no published file was at hand",
        "tuner evaluate taken",
    ):
        assert text in done.out
    (checkpoint,) = Path("home").rglob("best.ckpt")
    meta = load_checkpoint(checkpoint).meta
    assert meta["imported"]["note"].startswith("imported from magf.pth, sha256 ")
    assert meta["fingerprint"].startswith("imported")
    assert meta["epoch"] == 0
    assert (meta["config"]["eval_flip"], meta["config"]["zero_root"]) == (True, True)
    assert meta["config"]["data"]["frames"] == meta["config"]["backbone_options"]["frames"] == 6


@pytest.mark.parametrize("name", ["videopose", "semgcn", "poseformerv2", "d3dp"])
def test_imported_nets_are_measured_and_lift(
    call: Call, tmp_path: Path, name: BackboneName
) -> None:
    case = PUBLISHED[name]
    path = write(tmp_path / "published.bin", case.state(), case.entry)
    assert import_(call, path, name, *case.options).code == 0
    measured = call("evaluate", "taken", "--home", "home", "--json")
    assert measured.code == 0, measured.err
    (system,) = measured.json()["systems"]
    assert system["fingerprint"].startswith("imported")
    assert system["figures"]["mpjpe_mm"] > 0
    assert system["notes"][0].startswith("imported from published.bin, sha256 ")
    assert ("model: chosen on test, optimistic" in system["notes"]) == (name != "videopose")
    x = np.random.default_rng(0).normal(size=(20, case.joints, 2)).astype(np.float32)
    np.save("in.npy", x)
    lifted = call("predict", "taken", "in.npy", "--out", "out.npy", "--home", "home")
    assert lifted.code == 0, lifted.err
    assert np.load("out.npy").shape == (20, case.joints, 3)


def test_a_folder_is_taken_as_well_as_a_name(call: Call, tmp_path: Path) -> None:
    case = PUBLISHED["simplebaseline"]
    path = write(tmp_path / "bare.pt", case.state(), None)
    folder = tmp_path / "somewhere" / "net"
    done = import_(call, path, "simplebaseline", "--to", folder, "--json")
    assert done.code == 0, done.err
    assert done.json()["entry"] is None
    measured = call("evaluate", folder, "--json")
    assert measured.code == 0, measured.err
    assert import_(call, path, "simplebaseline", "--to", folder).code == 0  # the same once more
    other = case.state() | {"w2.bias": torch.zeros(51)}
    again = import_(call, write(path, other, None), "simplebaseline", "--to", folder)
    assert again.code == 2
    assert "is there already, with something else" in again.err


def test_a_net_under_a_name_is_not_trained_over(call: Call, tmp_path: Path) -> None:
    case = PUBLISHED["simplebaseline"]
    assert import_(call, write(tmp_path / "a.pt", case.state()), "simplebaseline").code == 0
    done = call(
        *("train", "--backbone", "simplebaseline", "--preset", "quick", "--name", "taken"),
        *("--loss-net", "none", "--home", "home", "--tracking-uri", "none"),
    )
    assert done.code == 2
    assert "exists with another configuration" in done.err


def changed(case: Published, **changes: Tensor | None) -> dict[str, Tensor]:
    state: dict[str, Any] = {**case.state(), **changes}
    return {name: value for name, value in state.items() if value is not None}


def test_every_difference_is_listed_and_nothing_is_written(call: Call, tmp_path: Path) -> None:
    case = PUBLISHED["mixste"]
    state = changed(case, **{"head.1.bias": None, "extra": torch.zeros(1)})
    path = write(tmp_path / "other.bin", state)
    done = import_(call, path, "mixste")
    assert done.code == 2
    assert "1 unknown: extra; 1 missing: head.1.bias" in done.err
    assert nothing_written(path)
    write(path, changed(case, **{"STEblocks.1.mlp.fc1.bias": torch.zeros(15)}))
    done = import_(call, path, "mixste")
    assert done.code == 2
    assert "1 differ: STEblocks.1.mlp.fc1.bias: (15,), expected (16,)" in done.err
    assert nothing_written(path)


def test_sizes_that_the_user_sets_are_compared_too(call: Call, tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin", PUBLISHED["mixste"].state())
    done = import_(call, path, "mixste", "--set", "backbone_options.frames=27")
    assert done.code == 2
    assert "1 differ: Temporal_pos_embed: (1, 6, 8), expected (1, 27, 8)" in done.err


def test_another_net_is_named_by_its_names(call: Call, tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin", PUBLISHED["mixste"].state())
    done = import_(call, path, "ktpformer")
    assert done.code == 2
    assert "a.bin: its names are those of --backbone mixste; no official checkpoint" in done.err
    assert "unknown" in done.err
    assert done.err.count("STEblocks") <= 20  # ten names of a kind
    assert re.search(r"and \d+ more", done.err)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mixste", ("--backbone", "mixst"), "--backbone 'mixst' is unknown"),
        ("mixste", ("--dataset", "h37m"), "--dataset 'h37m' is unknown"),
        ("mixste", ("--dataset", "poses"), "has no joints of its own"),
        ("mixste", ("--dataset", "h3wb"), "is of 17 joints, but --dataset h3wb has 133"),
        ("semgcn", ("--dataset", "mpi_inf_3dhp"), "is of 16 joints"),
        ("mixste", ("--set", "lr_p=1"), "--set lr_p: an import decides that"),
        ("mixste", ("--set", "backbone_options.nose=1"), "unknown nose"),
        ("mixste", ("--set", "backbone_options=1"), "--set backbone_options=1: set its fields"),
        ("mixste", ("--set", "data=1"), "--set data=1: set its fields"),
        ("mixste", ("--set", "epochz=1"), "epochz"),
        ("poseformerv2", (), "--set backbone_options.frames=… is missing"),
        ("mixste", ("--set", "backbone_options.frames=5000"), "frames would be 5000, expected at"),
        ("mixste", ("--to", ".."), "--to '..': expected the name of a training"),
        ("mixste", ("--to", ""), "--to '': expected the name of a training"),
    ],
)
def test_wrong_options_are_refused_in_a_line(
    call: Call, tmp_path: Path, name: BackboneName, options: tuple[str, ...], message: str
) -> None:
    case = PUBLISHED[name]
    path = write(tmp_path / "a.bin", case.state(), case.entry)
    done = import_(call, path, name, *options)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert nothing_written(path)


@pytest.mark.parametrize("name", ["pstmo", "poseformerv2"])
def test_units_are_asked_for(call: Call, tmp_path: Path, name: BackboneName) -> None:
    case = PUBLISHED[name]
    path = write(tmp_path / "a.bin", case.state(), case.entry)
    given = ("import-weights", path, "--backbone", name, "--to", "net", *case.options)
    done = call(*given)
    assert done.code == 2
    assert "--dataset is missing: published nets of" in done.err
    scales = {}
    for dataset in ("h36m", "mpi_inf_3dhp"):
        done = call(*given, "--dataset", dataset, "--to", dataset.replace("_", "-"), "--json")
        assert done.code == 0, done.err
        scales[dataset] = done.json()["options"].get("output_scale", 1.0)
    assert scales == {"h36m": 1.0, "mpi_inf_3dhp": 0.001}


def test_a_hip_that_is_left_out_is_predicted_as_zero(call: Call, tmp_path: Path) -> None:
    for inputs, outputs, joints in ((34, 48, 17), (32, 45, 16)):
        case = Published(simplebaseline_shapes(inputs, outputs), PUBLISHED["semgcn"].build)
        path = write(tmp_path / f"{joints}.pth", case.state(), "state_dict")
        done = import_(call, path, "simplebaseline", "--to", f"net{joints}", "--json")
        assert done.code == 0, done.err
        lifter = load_lifter(Path(done.json()["checkpoint"]), device=CPU)
        y = lifter.net(torch.randn(4, 1, joints, 2))
        assert y[:, :, 0].eq(0).all()
        assert torch.equal(lifter.net.state_dict()["w2.weight"][3:], case.state()["w2.weight"])


def test_the_port_of_simplebaseline_is_refused(call: Call, tmp_path: Path) -> None:
    case = Published(simplebaseline_shapes(32, 48), PUBLISHED["semgcn"].build)
    path = write(tmp_path / "port.pth", case.state(), "state_dict")
    done = import_(call, path, "simplebaseline")
    assert done.code == 2
    assert "standardised by statistics of its training that are not in the file" in done.err
    path = write(path, Published(simplebaseline_shapes(34, 39), case.build).state(), "state_dict")
    assert "takes 17 joints and gives 13" in import_(call, path, "simplebaseline").err


def test_non_local_blocks_find_their_places(call: Call, tmp_path: Path) -> None:
    case = Published(semgcn_shapes(non_local=True), PUBLISHED["semgcn"].build)
    state = case.state()
    path = write(tmp_path / "non_local.pth", state, "state_dict")
    done = import_(call, path, "semgcn", "--json")
    assert done.code == 0, done.err
    net = load_lifter(Path(done.json()["checkpoint"]), device=CPU).net
    assert isinstance(net, SemGCN)
    assert net.num_joints == H36M_16.num_joints
    ours = net.state_dict()
    for theirs, name in (
        ("gconv_input.1.nonlocal.g.0.weight", "non_local.0.g.weight"),
        ("gconv_layers.1.nonlocal.W.1.running_var", "non_local.1.bn.running_var"),
        ("gconv_layers.3.nonlocal.concat_project.0.weight", "non_local.2.affinity.weight"),
        ("gconv_layers.2.gconv2.gconv.e", "gconv_layers.1.gconv2.gconv.e"),
    ):
        assert torch.equal(ours[name], state[theirs].reshape(ours[name].shape)), name


def test_random_states_and_scalars_of_numpy_are_passed_over(call: Call, tmp_path: Path) -> None:
    """As VideoPose3D and its successors keep them in their files."""
    case = PUBLISHED["videopose"]
    content = {
        "random_state": np.random.RandomState(3),
        "loss": np.float64(0.5),
        "errors": np.arange(4.0),
        "optimizer": torch.optim.Adam(case.net().parameters()).state_dict(),
        "model_pos": case.state(),
    }
    path = tmp_path / "pretrained.bin"
    for zipped in (True, False):  # False: the format of the years when they were published
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        done = import_(call, path, "videopose", "--to", f"net{zipped}", "--json")
        assert done.code == 0, done.err
        assert done.json()["left_out"] == ["random_state", "loss", "errors", "optimizer"]


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_not_run(call: Call, tmp_path: Path, zipped: bool) -> None:
    proof = tmp_path / "proof"
    payload = Calls(os.mkdir, str(proof))
    path = tmp_path / "evil.bin"
    content = {"model_pos": PUBLISHED["videopose"].state(), "args": payload}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    done = import_(call, path, "videopose")
    assert done.code == 2
    assert "asks for posix.mkdir, which could run code; refused" in done.err
    assert len(done.err.splitlines()) == 1
    assert not proof.exists()
    assert not Path("home").exists()
    live = f"import torch; torch.load({str(path)!r}, weights_only=False)"
    subprocess.run([sys.executable, "-c", live], check=True)  # the payload does work elsewhere
    assert proof.is_dir()


def test_numpy_s_names_run_nothing_even_with_other_arguments(call: Call, tmp_path: Path) -> None:
    """What stands for NumPy ignores all that it is given."""
    proof = tmp_path / "proof"
    path = tmp_path / "evil.bin"
    scalar: Any = np.float64(1.0).__reduce__()[0]
    torch.save({"model_pos": {"a": Calls(scalar, np.dtype("O"), b"cos\nmkdir\n")}}, path)
    done = import_(call, path, "videopose")
    assert done.code == 2
    assert "its entry 'model_pos' holds something else than tensors by name" in done.err
    assert not proof.exists()


class Options:
    """Stands for an `argparse.Namespace` or anything else of a program's own."""


def test_objects_of_programs_are_refused_by_name(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    torch.save({"model_pos": PUBLISHED["videopose"].state(), "args": Options()}, path)
    done = import_(call, path, "videopose")
    assert done.code == 2
    assert "asks for tests.tuner.cli.test_import_weights.Options" in done.err
    assert "take out the parameters in a container without network" in done.err


def damaged(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def with_nan(path: Path) -> None:
    state = PUBLISHED["videopose"].state()
    state["shrink.bias"][3] = torch.nan
    write(path, state)


def of_integers(path: Path) -> None:
    state = PUBLISHED["videopose"].state()
    write(path, state | {"shrink.bias": state["shrink.bias"].long()})


def sparse(path: Path) -> None:
    state = PUBLISHED["videopose"].state()
    write(path, state | {"shrink.bias": state["shrink.bias"].to_sparse()})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (damaged, "is damaged, truncated, or no file of parameters that torch wrote"),
        (lambda path: path.write_bytes(b""), "is damaged, truncated, or no file"),
        (lambda path: path.write_text("nose"), "is damaged, truncated, or no file"),
        (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "no file of parameters that tor"),
        (lambda path: path.unlink(), "cannot read"),
        (lambda path: torch.save([torch.zeros(1)], path), "holds a list, expected parameters"),
        (lambda path: torch.save({}, path), "no entry model_pos or state_dict"),
        (lambda path: torch.save({"model_pos": {}}, path), "its entry 'model_pos' holds some"),
        (lambda path: torch.save({"nose": 1}, path), "it holds: nose"),
        (with_nan, "shrink.bias holds NaN or infinity"),
        (of_integers, "shrink.bias has the type torch.int64, expected floating-point numbers"),
        (sparse, "shrink.bias is no plain tensor of numbers"),
    ],
)
def test_other_files_are_refused_in_a_line(
    call: Call, tmp_path: Path, make: Any, message: str
) -> None:
    path = write(tmp_path / "published.bin", PUBLISHED["videopose"].state())
    make(path)
    done = import_(call, path, "videopose")
    assert done.code == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert nothing_written(path)
