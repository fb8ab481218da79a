"""A finished search is confirmed on fresh seeds, then extended, on real Ray."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.greedy_cli import environment, run
from tuner.settings import resolve_locations
from tuner.wiring.stores import load_histories, open_store

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]


def runs(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`tuner runs …` on the runs of a home."""
    return subprocess.run(
        [sys.executable, "-m", "tuner", "runs", *words, "--home", str(home)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def trained(home: Path) -> dict[str, int]:
    """Trials of each stage that were trained there, by name of stage."""
    histories = load_histories(open_store(resolve_locations(home=home)), "demo")
    return {
        name: sum(trial.imported_from is None for trial in study.trials)
        for name, study in histories.items()
    }


def test_a_finished_search_is_confirmed_and_then_extended(tmp_path: Path) -> None:
    first = run(tmp_path, "--name", "demo")
    searched = trained(tmp_path)
    report = tmp_path / "runs" / "demo" / "report" / "decisions.jsonl"
    before = report.read_text()

    confirmed = run(tmp_path, "--name", "demo", "--confirm-seeds", "2")
    assert trained(tmp_path) == {**searched, "4-confirm": 6}
    assert {k: confirmed[k] for k in ("baseline", "seal")} == {
        k: first[k] for k in ("baseline", "seal")
    }
    assert "4-confirm" in report.read_text()
    assert "4-confirm" not in before

    refused = runs(tmp_path, "extend", "demo", "--stage", "beta", "--trials", "+2")
    assert refused.returncode == 2
    assert "no such stage that could be extended; it has lr_p, lr_l, alpha" in refused.stderr
    nothing = runs(tmp_path, "refine", "demo", "--stage", "alpha", "--trials", "+0")
    assert nothing.returncode == 2
    assert "--trials '+0': expected how many trials to add" in nothing.stderr

    done = runs(tmp_path, "extend", "demo", "--stage", "alpha", "--trials", "+2", "--json")
    assert done.returncode == 0, done.stderr
    extended: dict[str, Any] = json.loads(done.stdout)
    assert extended["state"] == "finished"
    after = trained(tmp_path)
    assert after["3-alpha"] == searched["3-alpha"] + 2
    assert after["4-confirm"] >= 6
    assert "extended by 2 more trials" in extended["stages"][2]["reason"]
    assert "extended by 2 more trials" in report.read_text()
    histories = load_histories(open_store(resolve_locations(home=tmp_path)), "demo")
    assert all(trial.state.ended for study in histories.values() for trial in study.trials)
    assert all(trial.mlflow_run_id for study in histories.values() for trial in study.trials)
    assert all(trial.test_metrics for trial in histories["4-confirm"].trials)
