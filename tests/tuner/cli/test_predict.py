"""`tuner predict` in this process: what comes out is what the pose-net gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.tuner.cli.conftest import Call, StoreRun
from tests.tuner.cli.small_training import train_small
from tests.tuner.conftest import BuildRun
from trainables.builders import build_backbone
from trainables.checkpoint import load_checkpoint
from trainables.config import DataConfig, TrainingConfig
from trainables.data.loading import load_dataset
from trainables.skeletons import H36M_17
from tuner.wiring.training_record import TrainingResult

WIDTH, HEIGHT = 1000, 1002


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="module")
def trained(home: Path) -> TrainingResult:
    return train_small(home, name="small")


@pytest.fixture(scope="module")
def poses() -> NDArray[np.float32]:
    """More than the net lifts at a time."""
    return np.concatenate([load_dataset(DataConfig()).splits["test"].x] * 2)[:5000]


@pytest.fixture(scope="module")
def expected(trained: TrainingResult, poses: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the net itself gives, built and called here."""
    found = load_checkpoint(Path(trained.checkpoint))
    net = build_backbone(TrainingConfig.model_validate(found.meta["config"]), H36M_17)
    net.load_state_dict(found.state["pose_net"])
    with torch.no_grad():
        lifted: NDArray[np.float32] = net.eval()(torch.from_numpy(poses).unsqueeze(1))[
            :, 0
        ].numpy()
    return lifted


def test_the_prediction_is_the_pose_nets_output(
    call: Call, home: Path, poses: NDArray[np.float32], expected: NDArray[np.float32]
) -> None:
    np.save("in.npy", poses)
    done = call("predict", "small", "in.npy", "--out", "out.npz", "--home", home, "--json")
    assert done.code == 0, done.err
    found = done.json()
    assert (found["poses"], found["unit"], found["skeleton"]) == (len(poses), "m", "h36m_17")
    assert found["joints"] == list(H36M_17.joints)
    with np.load("out.npz", allow_pickle=False) as archive:
        np.testing.assert_allclose(archive["poses"], expected, atol=1e-6)
        assert str(archive["unit"]) == "m"


def test_pixels_give_what_normalised_key_points_give(
    call: Call, home: Path, poses: NDArray[np.float32], expected: NDArray[np.float32]
) -> None:
    offset = np.array([1, HEIGHT / WIDTH])
    pixels = (poses[:50].astype(np.float64) + offset) * WIDTH / 2
    np.savez("in.npz", keypoints=pixels)
    size = ("--width", WIDTH, "--height", HEIGHT)
    done = call("predict", "small", "in.npz", "--out", "out.npy", *size, "--home", home)
    assert done.code == 0, done.err
    np.testing.assert_allclose(np.load("out.npy"), expected[:50], atol=1e-5)
    assert "50 poses of h36m_17 in out.npy: 17 joints, unit m" in done.out


def test_notes_on_the_input_are_printed_and_in_the_json(
    call: Call, home: Path, trained: TrainingResult
) -> None:
    rows = np.random.default_rng(5).uniform(0, 1, size=(2, 34))
    names = ",".join(f"c{number}" for number in range(34))
    np.savetxt("in.csv", rows, delimiter=",", header=names, comments="")
    done = call("predict", trained.checkpoint, "in.csv", "--out", "out.npy", "--json")
    assert done.code == 0, done.err
    header, fractions = done.json()["notes"]
    assert "passed over as a header" in header
    assert "read as centred screen coordinates" in fractions
    assert done.err.splitlines() == [f"note: {header}", f"note: {fractions}"]
    np.savetxt("pixels.csv", rows * 1000, delimiter=",")
    size = ("--width", WIDTH, "--height", HEIGHT, "--out", "out.npy", "--json")
    done = call("predict", trained.checkpoint, "pixels.csv", *size)
    assert (done.code, done.json()["notes"], done.err) == (0, [], "")


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "unknown target": (("nobody", "in.npy", "--out", "o.npz"), "'nobody' is no checkpoint"),
    "no input": (("small", "no.npy", "--out", "o.npz"), "no.npy cannot be read: No such file"),
    "unknown input": (("small", "in.txt", "--out", "o.npz"), "INPUT in.txt: suffix '.txt'"),
    "unknown output": (("small", "in.npy", "--out", "o.txt"), "--out o.txt: suffix '.txt'"),
    "no output folder": (("small", "in.npy", "--out", "no/o.npz"), "there is no folder no"),
    "over itself": (("small", "in.npy", "--out", "in.npy"), "is the file that is read"),
    "pixels": (("small", "pixels.npy", "--out", "o.npz"), "give the image's size"),
    "half a size": (
        ("small", "in.npy", "--out", "o.npz", "--width", "10"),
        "--width and --height belong together",
    ),
    "other joints": (("small", "joints.npy", "--out", "o.npz"), "expected (N, 17, 2)"),
    "unknown device": (("small", "in.npy", "--out", "o.npz", "--device", "tpu"), "--device 'tpu'"),
}


@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=REFUSED)
@pytest.mark.usefixtures("trained")
def test_what_cannot_be_lifted_is_refused_and_nothing_is_written(
    call: Call, home: Path, poses: NDArray[np.float32], words: tuple[str, ...], said: str
) -> None:
    np.save("in.npy", poses[:2])
    np.save("pixels.npy", poses[:2] * 1000 + 500)
    np.save("joints.npy", poses[:2, :16])
    before = sorted(Path.cwd().iterdir())
    done = call("predict", *words, "--home", home)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert sorted(Path.cwd().iterdir()) == before


@pytest.mark.usefixtures("trained")
def test_an_earlier_result_survives_a_failed_prediction(
    call: Call, home: Path, poses: NDArray[np.float32]
) -> None:
    Path("out.npz").write_bytes(b"earlier")
    np.save("in.npy", np.full_like(poses[:2], np.nan))
    done = call("predict", "small", "in.npy", "--out", "out.npz", "--home", home)
    assert done.code == 2
    assert "NaN or infinity: 2 of 2 poses" in done.err
    assert Path("out.npz").read_bytes() == b"earlier"


def test_an_open_search_lifts_nothing(
    call: Call, store_run: StoreRun, build_open_run: BuildRun, poses: NDArray[np.float32]
) -> None:
    home = store_run(build_open_run())
    np.save("in.npy", poses[:2])
    done = call("predict", "demo", "in.npy", "--out", "out.npz", "--home", home)
    assert (done.code, done.out) == (2, "")
    assert "search 'demo' is open: baseline only" in done.err
    assert f"`tuner runs resume demo --home {home}`" in done.err
    assert not Path("out.npz").exists()
