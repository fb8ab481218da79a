"""P-STMO's pre-training before a search, on real Ray: interrupted, killed, and used."""

from __future__ import annotations

import collections
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from tests.integration.greedy_cli import environment
from tests.integration.test_ray_faults import descendants
from trainables.checkpoint import CheckpointStore, load_checkpoint
from trainables.config import TrainingConfig
from trainables.data.loading import load_dataset
from trainables.seal.masked_net import pretraining_fingerprint
from trainables.seal.trainer import SealTrainer
from tuner.settings import data_cache, resolve_locations
from tuner.wiring.stores import load_histories, open_store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.fault,
    pytest.mark.timeout(600),
]

EPOCHS = 80
SPACE = """
name: one-of-each
stages:
  lr_p: {lr_p: {grid: [1.0e-3]}}
  lr_l: {lr_l: {grid: [1.0e-4]}, alpha: {grid: [1.0e-3]}}
  alpha: {alpha: {grid: [1.0e-3, 5.0e-3]}}
"""
SETTINGS = {
    **{"backbone_options.frames": 9, "backbone_options.width": 16, "backbone_options.hidden": 16},
    **{"backbone_options.heads": 2, "backbone_options.depth": 1, "steps_per_epoch": 3},
    **{"batch_size": 16, "energy_poses": 4, "data.max_eval_poses": 50},
    **{"loss_net_options.width": 16, "loss_net_options.depth": 1, "pretraining.epochs": EPOCHS},
}


def start(home: Path) -> subprocess.Popen[str]:
    space = home / "space.yaml"
    space.write_text(SPACE)
    words = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    command = [
        *(sys.executable, "-m", "tuner", "greedy", "--backbone", "pstmo", "--preset", "quick"),
        *("--epochs", "1", "--seed", "3", "--space", str(space), "--name", "demo", "--json"),
        *("--home", str(home), *words),
    ]
    return subprocess.Popen(
        command,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(process: subprocess.Popen[str], text: str) -> list[str]:
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return lines
    pytest.fail(f"the search ended without saying {text!r}:\n{''.join(lines)}")


def pretraining_workers(driver: int) -> list[int]:
    """Processes below the driver that Ray has named after the task."""
    found = []
    for process in descendants(driver):
        try:
            title = Path(f"/proc/{process}/cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::") and b"pretrain" in title:
            found.append(process)
    return found


@pytest.fixture(scope="module")
def interrupted_then_killed(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[str, Any], str]:
    """A search: SIGINT in the pre-training, resumed, its worker killed there; then left alone."""
    home = tmp_path_factory.mktemp("pretraining")
    first = start(home)
    read_until(first, "pre-training: epoch 2 of")
    first.send_signal(signal.SIGINT)
    _, messages = first.communicate(timeout=60)
    assert first.returncode == 130, messages
    assert "in the pre-training, which goes on from its last epoch" in messages

    (kept,) = (home / "pretrainings").glob("*/last.ckpt")
    saved = load_checkpoint(kept).meta["epoch"]
    assert 2 <= saved < EPOCHS - 2

    second = start(home)
    read_until(second, f"pre-training: epoch {saved + 1} of")
    (worker,) = pretraining_workers(second.pid)
    os.kill(worker, signal.SIGKILL)
    printed, messages = second.communicate(timeout=400)
    assert second.returncode == 0, messages
    return home, json.loads(printed), messages


def test_it_goes_on_where_it_stood_and_is_trained_once(
    interrupted_then_killed: tuple[Path, dict[str, Any], str],
) -> None:
    home, printed, messages = interrupted_then_killed
    assert printed["state"] == "finished"
    assert printed["pretraining"]["epochs"] == EPOCHS
    assert printed["pretraining"]["last_loss"] < printed["pretraining"]["first_loss"]
    assert f"pre-training: {EPOCHS} epochs, loss" in messages
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiments = [found.experiment_id for found in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=100)
    roles = collections.Counter(run.data.tags["tuner.role"] for run in runs)
    assert roles["pretraining"] == 1
    (shown,) = [run for run in runs if run.data.tags["tuner.role"] == "pretraining"]
    assert shown.info.status == "FINISHED"
    points = client.get_metric_history(shown.info.run_id, "pretrain_loss")
    assert sorted(point.step for point in points) == list(range(1, EPOCHS + 1))


def test_every_trial_began_with_it(
    interrupted_then_killed: tuple[Path, dict[str, Any], str],
) -> None:
    home, printed, _ = interrupted_then_killed
    folder = home / "runs" / "demo" / "checkpoints"
    store = CheckpointStore(folder)
    pretrainings = CheckpointStore(home / "pretrainings")
    histories = load_histories(open_store(resolve_locations(home=home)), "demo")
    trials = [
        trial
        for study in histories.values()
        for trial in study.trials
        if trial.imported_from is None
    ]
    assert len({trial.spec.seed for trial in trials}) == len(trials) == 3
    torch.set_num_threads(1)
    for trial in trials:
        config = TrainingConfig.model_validate(trial.spec.training_config())
        assert config.pretraining.seed == 3
        fingerprint = pretraining_fingerprint(config)
        assert fingerprint == printed["pretraining"]["fingerprint"]
        kept = pretrainings.load(fingerprint, "last")
        assert kept is not None
        trained_at = pretrainings.path(fingerprint, "last").stat().st_mtime_ns
        assert trained_at < store.path(trial.spec.fingerprint, "best").stat().st_mtime_ns
        dataset = load_dataset(config.data, None, cache=data_cache())
        trainer = SealTrainer(
            config, dataset, device=torch.device("cpu"), pretrained=kept.state["net"]
        )
        assert trainer.run_epoch()["val_mpjpe_mm"] == trial.value
