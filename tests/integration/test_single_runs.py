"""`tuner train`, `evaluate` and `predict` as a user runs them: resumed, tracked, in agreement."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from tests.integration.greedy_cli import environment
from tests.integration.greedy_cli import run as run_search
from tests.tuner.cli.small_training import SMALL, SMALL_ENERGY
from trainables.checkpoint import load_checkpoint
from trainables.config import DataConfig
from trainables.data.loading import load_dataset
from tuner.adapters.jsonl_tracker import read_events

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(180)]

EPOCHS = 12


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "tuner", *(str(word) for word in words)]


def train_command(home: Path, *words: str) -> list[str]:
    options = ("--home", home, "--name", "demo", "--json", *words)
    return command("train", *SMALL, *SMALL_ENERGY, "--epochs", EPOCHS, *options)


def run(words: list[str], *, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        words, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stderr
    return done


def result_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def bits(result: dict[str, Any]) -> dict[str, Any]:
    """What two trainings of one configuration must share, the weights among them."""
    state = load_checkpoint(Path(result["checkpoint"])).state["pose_net"]
    figures = ("fingerprint", "epochs", "best_epoch", "val_mpjpe_mm", "test", "config")
    return {
        **{name: result[name] for name in figures},
        "weights": {name: value.numpy().tobytes() for name, value in state.items()},
    }


def stop_in_the_middle(words: list[str], number: signal.Signals) -> tuple[int, str]:
    """Start a training, end it after its third epoch; give exit code and standard error."""
    process = subprocess.Popen(
        words,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if f"epoch 3 of {EPOCHS}" in line:
            process.send_signal(number)
            break
    _, rest = process.communicate(timeout=60)
    return process.returncode, "".join(seen) + rest


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    home = tmp_path_factory.mktemp("undisturbed")
    return home, result_of(run(train_command(home)))


def check_tracking(home: Path, result: dict[str, Any]) -> None:
    """One run with one training beneath it, both finished, every epoch shown once."""
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    by_role = {r.data.tags["tuner.role"]: r for r in client.search_runs(experiments)}
    assert set(by_role) == {"run", "trial"}
    assert {item.info.status for item in by_role.values()} == {"FINISHED"}
    parent, trial = by_role["run"], by_role["trial"]
    assert parent.info.run_id == result["mlflow_run_id"]
    points = client.get_metric_history(trial.info.run_id, "val_mpjpe_mm")
    assert sorted(point.step for point in points) == list(range(1, EPOCHS + 1))
    assert parent.data.metrics["best_test_mpjpe_mm"] == result["test"]["mpjpe_mm"]
    assert float(trial.data.params["lr_p"]) == result["config"]["lr_p"]
    assert trial.data.params["backbone_options.channels"] == "32"
    artifacts = {item.path for item in client.list_artifacts(parent.info.run_id, "checkpoints")}
    assert artifacts == {"checkpoints/best.ckpt"}
    assert (result["model"], result["competes"]) == ("sealpose-videopose-sample", True)
    assert client.get_registered_model(result["model"]).aliases.keys() == {"champion"}


def test_a_training_is_tracked(undisturbed: tuple[Path, dict[str, Any]]) -> None:
    check_tracking(*undisturbed)


def check_goes_on_to_the_same_bits(words: list[str], whole: dict[str, Any]) -> dict[str, Any]:
    done = run([*words, "--resume", "must"])
    assert "going on after epoch" in done.stderr
    assert f"epoch 1 of {EPOCHS}" not in done.stderr
    result = result_of(done)
    assert bits(result) == bits(whole)
    return result


@pytest.mark.fault
def test_a_training_that_was_killed_goes_on_to_the_same_bits(
    tmp_path: Path, undisturbed: tuple[Path, dict[str, Any]]
) -> None:
    words = train_command(tmp_path)
    code, said = stop_in_the_middle(words, signal.SIGKILL)
    assert code == -signal.SIGKILL, said
    result = check_goes_on_to_the_same_bits(words, undisturbed[1])
    check_tracking(tmp_path, result)


@pytest.mark.fault
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(
    tmp_path: Path, undisturbed: tuple[Path, dict[str, Any]], number: signal.Signals, code: int
) -> None:
    words = [*train_command(tmp_path), "--tracking-uri", "none"]
    ended, said = stop_in_the_middle(words, number)
    assert ended == code, said
    assert "stopped after epoch" in said
    assert "Go on with the same command: tuner train" in said
    log = tmp_path / "trainings" / "demo" / "tracking.jsonl"
    assert read_events(log)[-1]["status"] == "KILLED"
    check_goes_on_to_the_same_bits(words, undisturbed[1])
    events = read_events(log)
    assert events[-1]["status"] == "FINISHED"
    epochs = [event["epoch"] for event in events if event["kind"] == "epoch"]
    assert epochs == list(range(1, EPOCHS + 1))


def test_repeating_a_finished_training_reports_it(
    undisturbed: tuple[Path, dict[str, Any]],
) -> None:
    home, first = undisturbed
    done = run(train_command(home))
    assert result_of(done) == first
    assert f"epoch {EPOCHS} of" not in done.stderr
    check_tracking(home, first)


@pytest.mark.parametrize("form", ["name", "champion", "version", "run"])
def test_evaluation_gives_the_figures_that_training_printed(
    undisturbed: tuple[Path, dict[str, Any]], form: str
) -> None:
    home, trained = undisturbed
    named = {
        "name": "demo",
        "champion": "models:/sealpose-videopose-sample@champion",
        "version": "models:/sealpose-videopose-sample/1",
        "run": f"runs:/{trained['mlflow_run_id']}",
    }[form]
    (system,) = result_of(run(command("evaluate", named, "--home", home, "--json")))["systems"]
    figures = {name: value for name, value in system["figures"].items() if value is not None}
    assert figures == trained["test"]
    assert system["fingerprint"] == trained["fingerprint"]


def test_prediction_gives_the_errors_that_training_printed(
    tmp_path: Path, undisturbed: tuple[Path, dict[str, Any]]
) -> None:
    home, trained = undisturbed
    test = load_dataset(DataConfig()).splits["test"]
    source, out = tmp_path / "in.npy", tmp_path / "out.npy"
    np.save(source, test.x)
    run(command("predict", "demo", source, "--out", out, "--home", home))
    predicted = torch.from_numpy(np.load(out).astype(np.float64))
    truth = torch.from_numpy(test.y.astype(np.float64))
    error_mm = 1000 * float((predicted - truth).norm(dim=-1).mean())
    assert error_mm == pytest.approx(trained["test"]["mpjpe_mm"], rel=1e-6)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("models:/sealpose-videopose-sample@winner", "there is no such model"),
        ("models:/sealpose-videopose-sample/99", "there is no such model"),
        ("models:/nothing@champion", "there is no such model"),
        ("models:/nothing", "is no model's address; expected one of models:/NAME@ALIAS"),
        (f"runs:/{'0' * 32}", "there is no such model"),
        ("runs:/demo", "is no model's address"),
    ],
)
def test_models_that_do_not_exist_are_refused(
    undisturbed: tuple[Path, dict[str, Any]], named: str, said: str
) -> None:
    home, _ = undisturbed
    done = run(command("evaluate", named, "--home", home), code=2)
    assert said in done.stderr
    assert done.stdout == ""


def test_a_tracking_server_that_is_down_is_named(tmp_path: Path) -> None:
    words = ("evaluate", "models:/m@champion", "--tracking-uri", "http://127.0.0.1:9")
    done = run(command(*words, "--home", tmp_path), code=1)
    assert "cannot be fetched from http://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_searchs_winners_are_measured_side_by_side(tmp_path: Path) -> None:
    found = run_search(tmp_path, "--name", "search", "--tracking-uri", "none")
    for named in ("search", "run:search"):
        done = result_of(run(command("evaluate", named, "--home", tmp_path, "--json")))
        systems = {system["system"]: system for system in done["systems"]}
        assert set(systems) == {"baseline", "seal"}
        for name, system in systems.items():
            figures = {n: v for n, v in system["figures"].items() if v is not None}
            assert figures.items() >= found[name]["test"].items()
            assert system["checkpoint"] == found["checkpoints"][name]
    people = run(command("evaluate", "search", "--home", tmp_path)).stdout
    assert "baseline: action" in people
    assert "seal: action" in people
