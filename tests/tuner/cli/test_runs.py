from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from tuner.records import StudyHistory
from tuner.settings import resolve_locations
from tuner.wiring.stores import load_run_config, open_store

BuildRun = Callable[..., dict[str, StudyHistory]]
StoreRun = Callable[[Mapping[str, StudyHistory]], Path]

pytestmark = pytest.mark.integration


class Done(Protocol):
    code: int
    out: str
    err: str

    def json(self) -> Any: ...


Call = Callable[..., Done]


@dataclass(frozen=True)
class Stored:
    call: Call
    home: Path


@pytest.fixture
def stored(call: Call, store_run: StoreRun, build_run: BuildRun) -> Stored:
    return Stored(call, store_run(build_run()))


def test_show_prints_what_the_store_holds(stored: Stored) -> None:
    done = stored.call("runs", "show", "demo", "--home", stored.home, "--json")
    found = done.json()
    assert (done.code, done.err) == (0, "")
    assert found["state"] == "finished"
    assert [stage["trials"]["cached"] for stage in found["stages"]] == [0, 0, 2]
    assert found["trainings"] == 9
    assert found["stages"][2]["winner"] == {
        "number": 1,
        "params": {"lr_p": 1e-3, "lr_l": 5e-4, "alpha": 5e-3},
        "val_mpjpe_mm": 56.0,
    }
    assert found["seal"]["test"]["mpjpe_mm"] == 62.178
    assert found["storage"] == f"journal:{stored.home}/studies.journal"
    assert found["artifacts"] == str(stored.home / "runs" / "demo")


def test_show_prints_a_table_whose_commands_find_the_run(stored: Stored) -> None:
    done = stored.call("runs", "show", "demo", "--home", stored.home)
    assert done.code == 0
    assert "66.40" in done.out
    assert "62.18" in done.out
    assert f"tuner ui --home {stored.home}" in done.out
    assert "\x1b[" not in done.out


def test_list_has_a_line_per_run(stored: Stored) -> None:
    table = stored.call("runs", "list", "--home", stored.home)
    assert table.code == 0
    assert "demo" in table.out
    found = stored.call("runs", "list", "--home", stored.home, "--json").json()
    assert len(found["runs"]) == 1
    run = found["runs"][0]
    assert (run["run"], run["state"], run["stages_closed"]) == ("demo", "finished", 3)
    assert (run["baseline_test_mpjpe_mm"], run["seal_test_mpjpe_mm"]) == (66.4, 62.178)


def test_an_open_run_is_shown_as_open(
    call: Call, store_run: StoreRun, build_open_run: BuildRun
) -> None:
    home = store_run(build_open_run())
    found = call("runs", "show", "demo", "--home", home, "--json").json()
    assert found["state"] == "open"
    assert found["seal"] is None
    assert found["stages"][1]["trials"]["running"] == 1


def test_an_unknown_run_is_refused_with_those_that_exist(stored: Stored) -> None:
    done = stored.call("runs", "show", "nosuch", "--home", stored.home)
    assert (done.code, done.out) == (2, "")
    assert "no run 'nosuch'" in done.err
    assert "there are: demo" in done.err


@pytest.mark.parametrize("command", ["show", "resume"])
def test_a_wrong_home_is_refused_and_stays_untouched(
    call: Call, tmp_path: Path, command: str
) -> None:
    home = tmp_path / "nowhere"
    done = call("runs", command, "demo", "--home", home)
    assert done.code == 2
    assert f"there are no runs in {home} yet" in done.err
    assert "--home" in done.err
    assert not home.exists()


def test_an_empty_list_is_no_error(call: Call, tmp_path: Path) -> None:
    home = tmp_path / "nowhere"
    done = call("runs", "list", "--home", home)
    assert done.code == 0
    assert "there are no runs" in done.out
    assert call("runs", "list", "--home", home, "--json").json() == {"runs": []}
    assert not home.exists()


def test_resume_needs_the_configuration_that_the_run_kept(
    call: Call, store_run: StoreRun, build_run: BuildRun
) -> None:
    histories = build_run(stages=1, tested=False)
    for history in histories.values():
        assert isinstance(history.attributes, dict)
        history.attributes.clear()
    done = call("runs", "resume", "demo", "--home", store_run(histories))
    assert done.code == 2
    assert "kept no configuration" in done.err


def test_what_a_run_kept_goes_on_under_its_own_name(stored: Stored) -> None:
    store = open_store(resolve_locations(home=stored.home))
    config = load_run_config(store, "demo")
    assert config.backbone == "videopose"
    assert config.run_name == "demo"


def test_a_password_is_never_shown(call: Call) -> None:
    url = "postgresql+psycopg2://ann:hunter2@127.0.0.1:1/tuner"
    done = call("runs", "list", "--storage", url)
    assert done.code != 0
    assert "hunter2" not in done.out + done.err
