"""`tuner train` in this process: what is refused, what is trained, what is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fakes.listener import RecordingListener
from tests.tuner.cli.conftest import Call
from tests.tuner.cli.small_training import FIELDS, SMALL, SMALL_ENERGY, locations_in, train_small
from trainables.checkpoint import load_checkpoint
from trainables.config import LOSS_NET_FIELDS, TrainingConfig
from tuner.adapters.jsonl_tracker import read_events
from tuner.errors import ConfigurationError, DefinitionMismatchError, RunFailedError
from tuner.greedy_config import parse_greedy_config
from tuner.wiring import training
from tuner.wiring.lock import driver_lock
from tuner.wiring.plan import plan_greedy
from tuner.wiring.training import run_training
from tuner.wiring.training_plan import plan_training
from tuner.wiring.training_record import TrainingResult
from tuner.wiring.training_request import (
    DEFAULT_ALPHA,
    DEFAULT_LR_L,
    parse_training_request,
)

PLAIN = ("--tracking-uri", "none", "--device", "cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingResult]:
    home = tmp_path_factory.mktemp("trained")
    return home, train_small(home, name="small")


REFUSED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "no backbone": ((), ("--backbone is missing",)),
    "unknown names": (
        ("--backbone", "nope", "--dataset", "moon"),
        ("2 problems", "--backbone 'nope' is unknown", "--dataset 'moon' is unknown"),
    ),
    "names, figures and fields": (
        (
            *("--backbone", "simplebasline", "--dataset", "smple", "--epochs", "0"),
            *("--seed", "-1"),
        ),
        ("4 problems", "'simplebasline' is unknown", "'smple' is unknown", "--epochs", "--seed"),
    ),
    "names and fields": (
        ("--backbone", "simplebasline", "--set", "batch_size=1", "--set", "data.strid=2"),
        ("3 problems", "'simplebasline'", "training.batch_size = 1", "close to it: stride"),
    ),
    "unknown split to choose on": (
        ("--backbone", "videopose", "--select-on", "train"),
        ("--select-on = 'train'",),
    ),
    "split to choose on, as a field": (
        ("--backbone", "videopose", "--set", "select_on=test"),
        ("--set select_on: there is an option for that",),
    ),
    "field like no other": (
        ("--backbone", "videopose", "--set", "zzz=3"),
        ("training.zzz = 3: is no known option; known: ", "batch_size, "),
    ),
    "unknown loss-net": (
        ("--backbone", "videopose", "--loss-net", "gan"),
        ("--loss-net = 'gan'",),
    ),
    "unknown objective": (
        ("--backbone", "videopose", "--objective", "hinge"),
        ("training.objective = 'hinge'",),
    ),
    "unknown input": (("--backbone", "videopose", "--input", "M5"), ("training.input = 'M5'",)),
    "unknown preset": (("--backbone", "videopose", "--preset", "huge"), ("--preset = 'huge'",)),
    "rate of zero": (("--backbone", "videopose", "--lr-p", "0"), ("--lr-p = 0",)),
    "rate of nan": (("--backbone", "videopose", "--lr-p", "nan"), ("--lr-p = nan",)),
    "no energy": (("--backbone", "videopose", "--alpha", "0"), ("--alpha = 0",)),
    "loss-net's options without one": (
        ("--backbone", "videopose", "--loss-net", "none", "--lr-l", "1e-4", "--alpha", "0.001"),
        ("--lr-l 0.0001: has no effect with --loss-net none", "--alpha 0.001: has no effect"),
    ),
    "loss-net's fields without one": (
        ("--backbone", "videopose", "--loss-net", "none", "--set", "energy_poses=4"),
        ("energy_poses=4 has no effect with loss_net='none'",),
    ),
    "field with an option": (
        ("--backbone", "videopose", "--set", "lr_p=1e-3", "--set", "data.name=h36m"),
        ("--set lr_p, data.name: there is an option for that",),
    ),
    "unknown field": (
        ("--backbone", "videopose", "--set", "batch=3"),
        ("training.batch = 3: is no known option; close to it: batch_size",),
    ),
    "no assignment": (("--backbone", "videopose", "--set", "batch_size"), ("FIELD=VALUE",)),
    "net that does not exist": (
        ("--backbone", "videopose", "--set", "backbone_options.depth=3"),
        ("unknown depth",),
    ),
    "no data": (
        ("--backbone", "videopose", "--dataset", "h36m", "--data-dir", "nowhere"),
        ("nowhere",),
    ),
    "bad name": (("--backbone", "videopose", "--name", "a/b"), ("--name 'a/b'",)),
    "unknown device": (("--backbone", "videopose", "--device", "tpu"), ("--device 'tpu'",)),
    "unknown resume": (("--backbone", "videopose", "--resume", "maybe"), ("--resume 'maybe'",)),
    "nothing to resume": (
        ("--backbone", "videopose", "--resume", "must"),
        ("--resume must: there is no training",),
    ),
    "no settings file": (("--config", "nowhere.yaml"), ("--config nowhere.yaml: cannot be read",)),
    "no mlflow folder": (
        ("--backbone", "videopose", "--tracking-uri", "./mlruns"),
        ("MLflow 3 keeps runs in a database",),
    ),
}


@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    call: Call, words: tuple[str, ...], said: tuple[str, ...]
) -> None:
    done = call("train", *words)
    assert (done.code, done.out) == (2, "")
    for text in said:
        assert text in done.err
    assert not Path("tuner-runs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(call: Call) -> None:
    done = call("train", "--backbone", "videopose", "--device", "cuda")
    assert done.code == 2
    assert "--device cuda: torch can use no GPU here" in done.err


def test_json_says_what_was_trained_and_how_well(call: Call) -> None:
    done = call("train", *SMALL, *SMALL_ENERGY, *PLAIN, "--name", "demo", "--json")
    assert done.code == 0, done.err
    found = done.json()
    assert set(found) >= {
        *("name", "state", "config", "fingerprint", "best_epoch", "val_mpjpe_mm", "test"),
        *("checkpoint", "seconds", "tracking_uri", "mlflow_run_id"),
    }
    assert (found["name"], found["state"], found["epochs"]) == ("demo", "finished", 2)
    config = found["config"]
    assert (config["lr_p"], config["lr_l"], config["alpha"]) == (
        *(1e-3, DEFAULT_LR_L, DEFAULT_ALPHA),
    )
    assert config["loss_net"] == "graph"
    assert (found["select_on"], found["model"], found["competes"]) == ("val", None, False)
    assert {"mpjpe_mm", "p_mpjpe_mm", "lse", "lle", "bsle"} <= set(found["test"])
    meta = load_checkpoint(Path(found["checkpoint"])).meta
    assert meta["fingerprint"] == found["fingerprint"]
    assert meta["best_value"] == found["val_mpjpe_mm"]
    for epoch in (1, 2):
        assert f"epoch {epoch} of 2: val MPJPE" in done.err


def test_people_get_a_table_and_the_next_command(call: Call) -> None:
    done = call("train", *SMALL, "--loss-net", "none", *PLAIN, "--name", "demo")
    assert done.code == 0, done.err
    assert "training demo: finished" in done.out
    assert "P-MPJPE (mm)" in done.out
    assert "tuner evaluate demo" in done.out
    assert "validation MPJPE: " in done.out
    assert "model: not registered" in done.out
    assert "optimistic" not in done.out


def test_a_choice_on_test_is_never_called_validation(call: Call) -> None:
    done = call("train", *SMALL, "--loss-net", "none", *PLAIN, "--select-on", "test")
    assert done.code == 0, done.err
    assert "metric on test (chosen on test, optimistic)" in done.out
    assert "test MPJPE (chosen on test, optimistic): " in done.out
    assert "epoch 1 of 2: test MPJPE" in done.err
    assert "val" not in (done.out + done.err).replace("value", "").replace("tuner evaluate", "")


def test_the_plain_log_shows_every_epoch_once_and_the_end(
    trained: tuple[Path, TrainingResult],
) -> None:
    home, result = trained
    events = read_events(home / "trainings" / "small" / "tracking.jsonl")
    kinds = [event["kind"] for event in events]
    assert kinds[0] == "run_started"
    assert [event["epoch"] for event in events if event["kind"] == "epoch"] == [1, 2]
    ended = events[-1]
    assert (ended["kind"], ended["status"]) == ("run_ended", "FINISHED")
    assert ended["metrics"]["best_test_mpjpe_mm"] == result.test["mpjpe_mm"]
    assert ended["metrics"]["best_val_mpjpe_mm"] == result.val_mpjpe_mm
    assert events[0]["params"]["data.name"] == "sample"


def test_a_finished_training_is_only_reported(trained: tuple[Path, TrainingResult]) -> None:
    home, result = trained
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*.ckpt")}
    listener = RecordingListener()
    request = parse_training_request({**FIELDS, "name": "small"})
    again = run_training(request, locations_in(home), listener, device="cpu")
    assert again == result
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*.ckpt")} == before
    assert any("had finished" in text for text in listener.messages)
    assert listener.ended == []


def test_a_lost_best_checkpoint_is_trained_once_more_with_the_same_figures(tmp_path: Path) -> None:
    first = train_small(tmp_path, name="small")
    Path(first.checkpoint).unlink()
    again = train_small(tmp_path, name="small")
    assert Path(again.checkpoint).exists()
    assert (again.test, again.val_mpjpe_mm) == (first.test, first.val_mpjpe_mm)


def test_a_name_belongs_to_one_configuration(trained: tuple[Path, TrainingResult]) -> None:
    home, _ = trained
    with pytest.raises(DefinitionMismatchError, match=r"lr_p: 0\.001 before, 0\.002 now"):
        train_small(home, name="small", lr_p=2e-3)


def test_what_differs_is_said_field_by_field(trained: tuple[Path, TrainingResult]) -> None:
    home, _ = trained
    overrides = {**FIELDS["overrides"], "data": {"max_eval_poses": 100, "stride": 5}}
    with pytest.raises(DefinitionMismatchError, match=r"data\.stride: 1 before, 5 now"):
        train_small(home, name="small", overrides=overrides)


def test_a_training_of_an_earlier_version_is_told_apart(tmp_path: Path) -> None:
    train_small(tmp_path, name="small")
    folder = tmp_path / "trainings" / "small"
    for path in (folder / "training.json", folder / "result.json"):
        values = json.loads(path.read_text())
        del values["config"]["accumulate"], values["config"]["pretraining"]
        path.write_text(json.dumps({**values, "fingerprint": "0" * 64}))
    expected = (
        r"'small' was begun by an earlier version, .* lacked accumulate, pretraining\.epochs"
    )
    with pytest.raises(DefinitionMismatchError, match=expected):
        train_small(tmp_path, name="small")


def test_a_result_of_another_configuration_is_not_given_out(tmp_path: Path) -> None:
    train_small(tmp_path, name="small")
    (tmp_path / "trainings" / "small" / "training.json").unlink()
    with pytest.raises(DefinitionMismatchError, match=r"seed: 0 before, 1 now"):
        train_small(tmp_path, name="small", seed=1)
    assert train_small(tmp_path, name="small").config["seed"] == 0


def test_what_another_process_wrote_before_the_lock_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process trains to its end between our first look and our lock."""

    @contextmanager
    def late_lock(folder: Path, run: str) -> Iterator[None]:
        monkeypatch.setattr(training, "driver_lock", driver_lock)
        train_small(tmp_path, name="small", seed=1)
        with driver_lock(folder, run):
            yield

    monkeypatch.setattr(training, "driver_lock", late_lock)
    with pytest.raises(DefinitionMismatchError, match=r"seed: 1 before, 0 now"):
        train_small(tmp_path, name="small")
    kept = json.loads((tmp_path / "trainings" / "small" / "training.json").read_text("utf-8"))
    assert kept["config"]["seed"] == 1


@pytest.mark.parametrize("name", ["lr_p", "lr_l", "alpha", "epochs", "seed"])
def test_true_is_no_number(name: str) -> None:
    option = name.replace("_", "-")
    with pytest.raises(ConfigurationError, match=f"--{option} = True: expected another kind"):
        parse_training_request({"backbone": "videopose", name: True})


def test_a_failure_is_forgotten_when_the_training_ends_well(tmp_path: Path) -> None:
    train_small(tmp_path, name="small")
    folder = tmp_path / "trainings" / "small"
    (folder / "result.json").unlink()
    (folder / "failure.json").write_text('{"reason": "no memory"}', encoding="utf-8")
    train_small(tmp_path, name="small")
    assert not (folder / "failure.json").exists()


def test_resume_never_refuses_what_exists(trained: tuple[Path, TrainingResult]) -> None:
    home, _ = trained
    request = parse_training_request({**FIELDS, "name": "small"})
    with pytest.raises(ConfigurationError, match="--resume never: training 'small' exists"):
        run_training(request, locations_in(home), RecordingListener(), resume="never")


def test_names_follow_the_configuration() -> None:
    one = plan_training(parse_training_request(FIELDS))
    other = plan_training(parse_training_request({**FIELDS, "seed": 1}))
    assert one.name != other.name
    assert one.name.startswith("videopose-sample-none-quick-")


def test_a_training_that_diverges_fails_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(RunFailedError, match=r"non-finite in epoch 1.*try a lower --lr-p"):
        train_small(tmp_path, name="wild", lr_p=1e18)
    events = read_events(tmp_path / "trainings" / "wild" / "tracking.jsonl")
    assert (events[-1]["kind"], events[-1]["status"]) == ("run_ended", "FAILED")


def test_a_preset_loses_the_loss_nets_fields_with_the_loss_net() -> None:
    plan = plan_training(parse_training_request(FIELDS))
    defaults = TrainingConfig(backbone="videopose", lr_p=1.0, lr_l=1.0)
    for name in LOSS_NET_FIELDS:
        assert getattr(plan.training, name) == getattr(defaults, name), name


def test_a_settings_file_is_read_and_options_win(call: Call) -> None:
    values: dict[str, Any] = {**FIELDS, "lr-p": 5e-4, "name": "from-file"}
    Path("train.yaml").write_text(json.dumps(values), encoding="utf-8")
    done = call("train", "--config", "train.yaml", "--epochs", "1", *PLAIN, "--json")
    assert done.code == 0, done.err
    found = done.json()
    assert (found["name"], found["config"]["lr_p"], found["epochs"]) == ("from-file", 5e-4, 1)


@pytest.mark.parametrize(("loss_net", "stage"), [("none", 0), ("graph", 1)])
def test_a_training_is_the_trial_that_a_search_makes_of_the_same_fields(
    loss_net: str, stage: int
) -> None:
    fields = {name: value for name, value in FIELDS.items() if name != "loss_net"}
    plan = plan_training(parse_training_request({**fields, "loss_net": loss_net}))
    search = plan_greedy(parse_greedy_config(fields))
    assert plan.spec.base == search.protocol.stages[stage].base
    assert TrainingConfig.model_validate(plan.spec.training_config()) == plan.training
