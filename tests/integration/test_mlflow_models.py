"""The winner in the model registry: what is stored, who is champion, what survives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from torch import nn

from tests.contracts.tracker import CLOSE_S, INFO
from trainables.builders import build_backbone
from trainables.checkpoint import CheckpointStore
from trainables.config import TrainingConfig
from trainables.skeletons import H36M_17
from tuner.adapters.mlflow_models import ModelVersionInfo, register_winner
from tuner.adapters.mlflow_session import connect
from tuner.adapters.mlflow_tracker import MlflowTracker
from tuner.adapters.outbox import Outbox
from tuner.errors import TrackingError
from tuner.records import MeasuredOn

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(180)]

MODEL = "sealpose-videopose-sample"
ALL_POSES = MeasuredOn("sample", "0a1b", "gt", None, "val", stride=1, max_poses=None)
QUICK = replace(ALL_POSES, max_poses=2000)
TRAINING = {
    "backbone": "videopose",
    "backbone_options": {"channels": 32},
    "lr_p": 1e-3,
    "lr_l": 1e-4,
    "alpha": 1e-3,
}


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{folder}/mlflow.db"
    connect(uri).create_experiment("models", artifact_location=str(folder / "artifacts"))
    return uri


@pytest.fixture
def run_id(uri: str) -> str:
    client = connect(uri)
    return str(
        client.create_run(client.get_experiment_by_name("models").experiment_id).info.run_id
    )


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """Not as initialised: batch norm has seen data."""
    torch.set_num_threads(1)
    built = build_backbone(TrainingConfig.model_validate(TRAINING), H36M_17)
    stream = torch.Generator().manual_seed(5)
    built.train()(torch.randn(256, 1, 17, 2, generator=stream) * 2 + 1)
    return built.eval()


@pytest.fixture(scope="module")
def checkpoint(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the trainer writes it: with an optimizer that a model has no use for."""
    state = {
        "pose_net": net.state_dict(),
        "epoch": 3,
        "pose_optimizer": {"exp_avg": torch.ones(9)},
    }
    store = CheckpointStore(tmp_path_factory.mktemp("c"))
    return Path(store.save("a" * 64, "best", state, {"epoch": 3}))


@pytest.fixture(scope="module")
def poses() -> NDArray[np.float32]:
    return np.random.default_rng(3).normal(size=(6, 17, 2)).astype(np.float32)


def register(
    uri: str, run_id: str, checkpoint: Path, poses: NDArray[np.float32], **changes: Any
) -> ModelVersionInfo:
    arguments: dict[str, Any] = {
        "tracking_uri": uri,
        "parent_run_id": run_id,
        "model_name": MODEL,
        "checkpoint_path": str(checkpoint),
        "training_config": TRAINING,
        "metrics": {"val_mpjpe_mm": 50.0, "val_lse": 4.0},
        "fingerprint": "f" * 64,
        "comparable": ALL_POSES.to_text(),
        "skeleton": "h36m_17",
        "example_x": poses,
    }
    return register_winner(**{**arguments, **changes})


def predictions(net: nn.Module, poses: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        lifted: NDArray[np.float32] = net(torch.from_numpy(poses)[:, None])[:, 0].numpy()
    return lifted


LOAD = """
import json, sys
from pathlib import Path
sys.path = [p for p in sys.path if not (Path(p or ".") / "trainables").is_dir()]
sys.meta_path = [f for f in sys.meta_path if "editable" not in type(f).__module__ + str(f)]
import mlflow.pyfunc, numpy as np
model = mlflow.pyfunc.load_model(sys.argv[1])
import trainables.builders
given = np.load(sys.argv[2])
np.save(sys.argv[3], model.predict(given))
print(json.dumps({"code": trainables.builders.__file__}))
"""


def test_a_loaded_model_predicts_what_the_net_predicts_with_no_package_installed(
    uri: str,
    run_id: str,
    checkpoint: Path,
    net: nn.Module,
    poses: NDArray[np.float32],
    tmp_path: Path,
) -> None:
    info = register(uri, run_id, checkpoint, poses, model_name="round-trip")
    folder = connect(uri).get_model_version("round-trip", str(info.version)).source
    np.save(tmp_path / "x.npy", poses)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, folder, str(tmp_path / "x.npy"), str(tmp_path / "y.npy")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["code"].startswith(folder)
    lifted = np.load(tmp_path / "y.npy")
    assert lifted.dtype == np.float32
    np.testing.assert_allclose(lifted, predictions(net, poses), rtol=0, atol=1e-6)


def test_what_is_stored_is_small_signed_and_free_of_pickled_objects(
    uri: str, run_id: str, checkpoint: Path, poses: NDArray[np.float32]
) -> None:
    info = register(uri, run_id, checkpoint, poses, model_name="stored")
    client = connect(uri)
    version = client.get_model_version("stored", str(info.version))
    folder = Path(version.source)
    assert [p for p in folder.rglob("*") if p.suffix in (".pkl", ".pickle", ".joblib")] == []
    assert (folder / "pose_lifter_model.py").is_file()
    assert not list(folder.rglob("__pycache__"))
    (weights,) = folder.rglob("*.ckpt")
    assert b"exp_avg" not in weights.read_bytes()
    assert version.tags["val_mpjpe_mm"] == "50.0"
    assert version.tags["metric.val_lse"] == "4.0"
    signature = yaml.safe_load((folder / "MLmodel").read_text())["signature"]
    shapes = [json.loads(signature[way])[0]["tensor-spec"] for way in ("inputs", "outputs")]
    assert [spec["shape"] for spec in shapes] == [[-1, 17, 2], [-1, 17, 3]]
    assert {spec["dtype"] for spec in shapes} == {"float32"}
    assert (folder / "input_example.json").is_file()
    (output,) = client.get_run(run_id).outputs.model_outputs
    assert client.get_logged_model(output.model_id).status.value == "READY"


def test_only_a_better_version_takes_the_crown(
    uri: str, run_id: str, checkpoint: Path, poses: NDArray[np.float32]
) -> None:
    crowned = []
    for number, value in enumerate((50.0, 51.0, 50.0, 49.5)):
        info = register(
            *(uri, run_id, checkpoint, poses),
            model_name="crown",
            metrics={"val_mpjpe_mm": value, "test_mpjpe_mm": -value},
            fingerprint=f"{number}" * 64,
        )
        crowned.append((info.version, info.champion))
    assert crowned == [(1, True), (2, False), (3, False), (4, True)]
    assert connect(uri).get_model_version_by_alias("crown", "champion").version in (4, "4")


@pytest.mark.parametrize(
    "comparable",
    [replace(ALL_POSES, content_hash="ff").to_text(), ""],
    ids=["other data", "chosen on test"],
)
def test_a_figure_that_cannot_be_compared_takes_no_crown(
    uri: str, run_id: str, checkpoint: Path, poses: NDArray[np.float32], comparable: str
) -> None:
    model = f"apart{len(comparable)}"
    first = register(*(uri, run_id, checkpoint, poses), model_name=model)
    better = register(
        *(uri, run_id, checkpoint, poses),
        model_name=model,
        metrics={"val_mpjpe_mm": 1.0},
        fingerprint="d" * 64,
        comparable=comparable,
    )
    assert (first.champion, better.champion) == (True, False)


@pytest.mark.parametrize(
    ("order", "champions"),
    [
        ((QUICK, ALL_POSES), (True, True)),
        ((ALL_POSES, QUICK), (True, False)),
        ((QUICK, ALL_POSES, QUICK, ALL_POSES), (True, True, False, False)),
    ],
    ids=["quick first", "quick last", "quick between"],
)
def test_a_quick_champion_gives_way_to_one_measured_on_all_poses_and_never_comes_back(
    *,
    uri: str,
    run_id: str,
    checkpoint: Path,
    poses: NDArray[np.float32],
    order: tuple[MeasuredOn, ...],
    champions: tuple[bool, ...],
) -> None:
    """Whatever the figures: the quick one is the better one here."""
    model = f"quick{len(order)}{order[0].max_poses}"
    found = tuple(
        register(
            *(uri, run_id, checkpoint, poses),
            model_name=model,
            metrics={"val_mpjpe_mm": 40.0 if comparable == QUICK else 60.0},
            fingerprint=f"{number}" * 64,
            comparable=comparable.to_text(),
        ).champion
        for number, comparable in enumerate(order)
    )
    assert found == champions


def test_what_is_crowned_by_hand_keeps_the_crown(
    uri: str, run_id: str, checkpoint: Path, poses: NDArray[np.float32]
) -> None:
    own = register(uri, run_id, checkpoint, poses, model_name="by-hand", comparable="")
    assert not own.champion
    connect(uri).set_registered_model_alias("by-hand", "champion", str(own.version))
    better = register(
        *(uri, run_id, checkpoint, poses),
        model_name="by-hand",
        metrics={"val_mpjpe_mm": 1.0},
        fingerprint="d" * 64,
    )
    assert not better.champion


def test_a_training_is_registered_once(
    uri: str, run_id: str, checkpoint: Path, poses: NDArray[np.float32]
) -> None:
    first = register(uri, run_id, checkpoint, poses, model_name="once")
    second = register(uri, run_id, checkpoint, poses, model_name="once")
    assert (first.created, second.created) == (True, False)
    assert (second.version, second.champion) == (first.version, True)
    assert len(connect(uri).search_model_versions("name = 'once'")) == 1


@pytest.mark.parametrize("value", [{}, {"val_mpjpe_mm": float("nan")}])
def test_a_model_without_a_finite_figure_is_refused(
    uri: str, run_id: str, checkpoint: Path, poses: NDArray[np.float32], value: dict[str, float]
) -> None:
    with pytest.raises(TrackingError, match="needs a finite val_mpjpe_mm"):
        register(uri, run_id, checkpoint, poses, metrics=value)


def make_tracker(uri: str, folder: Path) -> MlflowTracker:
    return MlflowTracker(
        tracking_uri=uri,
        experiment="tracked",
        outbox_path=folder / "outbox.db",
        artifact_root=None,
        run_folder=folder,
        linger_s=0.05,
    )


def announce(tracker: MlflowTracker, checkpoint: Path, poses: NDArray[np.float32]) -> None:
    tracker.register_model(
        model_name="tracked",
        checkpoint_path=str(checkpoint),
        training_config=TRAINING,
        metrics={"val_mpjpe_mm": 48.0},
        fingerprint="e" * 64,
        comparable=ALL_POSES.to_text(),
        skeleton="h36m_17",
        example_x=poses.tolist(),
    )


def test_the_tracker_registers_after_an_outage(
    tmp_path: Path, checkpoint: Path, poses: NDArray[np.float32]
) -> None:
    absent = make_tracker("http://127.0.0.1:9", tmp_path)  # the discard port: nothing answers
    absent.start_run(INFO)
    announce(absent, checkpoint, poses)
    assert absent.close(timeout_s=0.2) == 2
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracker = make_tracker(uri, tmp_path)
    tracker.start_run(INFO)
    announce(tracker, checkpoint, poses)  # a repeated call: the run was resumed
    tracker.end_run("finished", metrics={}, tags={})
    assert tracker.close(timeout_s=CLOSE_S) == 0
    (version,) = connect(uri).search_model_versions("name = 'tracked'")
    assert version.run_id == tracker.run_ids()["", None]
    champion = connect(uri).get_model_version_by_alias("tracked", "champion")
    assert champion.version == version.version


def test_a_checkpoint_that_is_gone_or_damaged_holds_nothing_up(
    tmp_path: Path, poses: NDArray[np.float32]
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    (tmp_path / "bad.ckpt").write_bytes(b"no checkpoint")
    tracker = make_tracker(uri, tmp_path)
    tracker.start_run(INFO)
    announce(tracker, tmp_path / "missing.ckpt", poses)
    announce(tracker, tmp_path / "bad.ckpt", poses)
    tracker.end_run("finished", metrics={}, tags={})
    assert tracker.close(timeout_s=CLOSE_S) == 0
    assert connect(uri).get_run(tracker.run_ids()["", None]).info.status == "FINISHED"
    reasons = [reason for _, reason in Outbox(tmp_path / "outbox.db").rejected()]
    assert "missing.ckpt does not exist" in reasons[0]
    assert "is not a checkpoint" in reasons[1]
