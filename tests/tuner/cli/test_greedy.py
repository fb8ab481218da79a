"""`tuner greedy` refuses what cannot be run: one message, exit code 2, nothing written."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import ray

from tuner.cli import main
from tuner.cli.greedy import default_run_name
from tuner.errors import ConfigurationError

Call = Callable[..., tuple[int, str, str]]

BAD_SPACE = """
name: bad
stages:
  lr_p: {lr_p: {low: -1, high: 1.0e-3, grid: [1.0e-4]}}
  lr_l: {lr_l: {grid: [1.0e-4]}, alpha: {grid: [-0.1]}}
  alpha: {alpha: {grid: [1.0e-3]}}
"""


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Run the command in an empty folder; return exit code, standard output and error."""
    if ray.is_initialized():  # by another test of this process; a command starts without
        ray.shutdown()
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("TUNER_HOME", "TUNER_STORAGE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tuner", *words])
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        else:
            code = 0
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


class _RunsACommand:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Data folders, none of which can be read."""
    made = {name: tmp_path / name for name in ("empty", "truncated", "malicious")}
    for folder in made.values():
        folder.mkdir()
    good = {"positions_2d": np.array({"S1": {}}, dtype=object)}
    for name in ("truncated", "malicious"):
        np.savez(made[name] / "data_2d_h36m_gt.npz", **good)  # type: ignore[arg-type]
    np.savez(made["truncated"] / "data_3d_h36m.npz", positions_3d=np.zeros((100, 32, 3)))
    whole = (made["truncated"] / "data_3d_h36m.npz").read_bytes()
    (made["truncated"] / "data_3d_h36m.npz").write_bytes(whole[: len(whole) // 2])
    evil = np.array({"S1": _RunsACommand(tmp_path / "executed")}, dtype=object)
    np.savez(made["malicious"] / "data_3d_h36m.npz", positions_3d=evil)
    (tmp_path / "space.yaml").write_text(BAD_SPACE)
    return made


REFUSALS = [
    (["--backbone", "nosuch"], "--backbone 'nosuch' is unknown; known: videopose"),
    ([], "--backbone is missing"),
    (["--backbone", "videopose", "--dataset", "h36m"], "needs a data folder"),
    (["--backbone", "videopose", "--dataset", "h36m", "--data-dir", "../empty"], "looked for"),
    (["--backbone", "videopose", "--dataset", "h36m", "--data-dir", "../truncated"], "truncated"),
    (
        ["--backbone", "videopose", "--dataset", "h36m", "--data-dir", "../malicious"],
        "could run code; refused",
    ),
    (["--backbone", "videopose", "--space", "../space.yaml"], "low = -1.0: must be > 0"),
    (["--backbone", "videopose", "--space", "nosuch"], "unknown search space 'nosuch'"),
    (["--backbone", "videopose", "--set", "batch_size=1"], "batch_size = 1"),
    (["--backbone", "videopose", "--set", "nosuch=1"], "training.nosuch = 1"),
    (["--backbone", "videopose", "--set", "lr_p=1"], "--set lr_p: an option or the search"),
    (["--backbone", "videopose", "--set", "objective=nce"], "--set objective: an option"),
    (["--backbone", "videopose", "--set", "data.name=h36m"], "--set data.name: an option"),
    (["--backbone", "videopose", "--set", "data=3"], "--set data=3: set its fields"),
    (["--backbone", "videopose", "--set", "a=["], "--set a=[: '[' is no YAML value"),
    (["--backbone", "videopose", "--set", "a=1", "--set", "a.b=2"], "a has been set to a value"),
    (["--backbone", "videopose", "--set", "backbone_options.chanels=8"], "chanels"),
    (["--backbone", "videopose", "--set", "backbone_options.widths=[3,3]"], "single frames"),
    (["--backbone", "videopose", "--trials", "3"], "--trials 3: a grid runs every point"),
    (["--backbone", "videopose", "--address", "ray://127.0.0.1:1"], "ray://"),
    (["--backbone", "videopose", "--set", "epochs"], "expected FIELD=VALUE"),
    (["--backbone", "videopose", "--epochs", "0"], "--epochs = 0"),
    (["--backbone", "videopose", "--name", "../x"], "--name '../x': a run's name consists of"),
    (["--backbone", "videopose", "--resume", "maybe"], "--resume 'maybe' is unknown"),
    (["--backbone", "videopose", "--resume", "must"], "there is no run"),
    (["--backbone", "videopose", "--storage", "foo://x"], "is no known storage URL"),
    (["--backbone", "videopose", "--tracking-uri", "./mlruns"], "not in plain folders"),
    (["--backbone", "videopose", "--config", "nosuch.yaml"], "--config nosuch.yaml: cannot"),
]


@pytest.mark.parametrize(("words", "message"), REFUSALS, ids=[m for _, m in REFUSALS])
def test_what_cannot_be_run_is_refused(
    call: Call, folders: dict[str, Path], words: list[str], message: str
) -> None:
    code, out, err = call("greedy", *words)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert out == ""
    assert list(Path.cwd().iterdir()) == []
    assert not (folders["empty"].parent / "executed").exists()


def test_all_faults_are_named_at_once(call: Call) -> None:
    code, _, err = call("greedy", "--backbone", "nosuch", "--dataset", "nosuch")
    assert code == 2
    assert "2 problems" in err
    assert "--backbone 'nosuch'" in err
    assert "--dataset 'nosuch'" in err


@pytest.mark.slow
def test_a_dry_run_tells_the_plan_and_writes_nothing(call: Call) -> None:
    code, out, _ = call(
        *("greedy", "--backbone", "videopose", "--dry-run", "--json"),
        *("--confirm-seeds", "2", "--check", "5"),
        *("--set", "backbone_options.channels=16", "--set", "loss_net_options.width=8"),
    )
    assert code == 0
    plan = json.loads(out)
    assert [stage["trials"] for stage in plan["stages"]] == [3, 4, 4, 2 * 3, 5]
    assert plan["trials"] == 11 + 6 + 5
    assert plan["seconds"] > 0
    names = [stage["name"] for stage in plan["stages"]]
    assert names == ["1-lr_p", "2-lr_l", "3-alpha", "4-confirm", "5-check"]
    assert list(Path.cwd().iterdir()) == []


def test_the_default_name_follows_from_what_determines_the_result() -> None:
    words = ["--backbone", "videopose", "--preset", "quick"]
    name = default_run_name(words)
    assert name.startswith("videopose-sample-graph-quick-")
    assert default_run_name([*words, "--max-concurrent", "1"]) == name
    assert default_run_name([*words, "--seed", "1"]) != name


def test_a_settings_file_is_read_and_the_command_line_wins(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("backbone: videopose\npreset: quick\nseed: 3\nname: from-file\n")
    assert default_run_name(["--config", str(file)]) == "from-file"
    assert default_run_name(["--config", str(file), "--name", "given"]) == "given"


def test_bad_arguments_have_no_default_name() -> None:
    with pytest.raises(ConfigurationError, match="No such option: --nosuch"):
        default_run_name(["--nosuch"])
