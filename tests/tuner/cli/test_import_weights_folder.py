"""Where `tuner import-weights` may write: nothing of anything else is ever overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainables.backbones.official.published import PUBLISHED
from tests.tuner.cli.conftest import Call
from tests.tuner.cli.test_import_weights import import_, write
from tuner.wiring.lock import driver_lock


@pytest.mark.parametrize("name", ["result.json", "checkpoints/abc/best.ckpt", "study.db"])
def test_a_folder_with_something_else_is_left_as_it_is(
    call: Call, tmp_path: Path, name: str
) -> None:
    path = write(tmp_path / "a.pt", PUBLISHED["simplebaseline"].state())
    other = tmp_path / "runs" / "demo" / name
    other.parent.mkdir(parents=True)
    other.write_text('{"mine": 1}')
    done = import_(call, path, "simplebaseline", "--to", tmp_path / "runs" / "demo")
    assert done.code == 2
    assert f"is there already, with something else ({name.split('/')[0]})" in done.err
    assert len(done.err.splitlines()) == 1
    assert other.read_text() == '{"mine": 1}'
    files = [found for found in (tmp_path / "runs").rglob("*") if found.is_file()]
    assert files == [other]
    done = import_(call, path, "simplebaseline", "--to", f"{other}/")
    assert done.code == 2
    assert "is no folder; choose another name" in done.err


def test_a_training_of_the_name_is_not_overwritten(call: Call, tmp_path: Path) -> None:
    folder = Path("home/trainings/taken")
    trained = call(
        *("train", "--backbone", "simplebaseline", "--preset", "quick", "--name", "taken"),
        *("--loss-net", "none", "--epochs", "1", "--home", "home", "--tracking-uri", "none"),
    )
    assert trained.code == 0, trained.err
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    path = write(tmp_path / "a.pt", PUBLISHED["simplebaseline"].state())
    done = import_(call, path, "simplebaseline")
    assert done.code == 2
    assert "--to taken: " in done.err
    assert "is there already, with something else" in done.err
    assert {path: path.read_bytes() for path in before} == before


def test_a_folder_that_is_at_work_is_left_alone(call: Call, tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt", PUBLISHED["simplebaseline"].state())
    folder = Path("home/trainings/taken").absolute()
    with driver_lock(folder, "taken"):
        done = import_(call, path, "simplebaseline")
        assert done.code == 2
        assert "another command is at work in it; wait for it, or choose another name" in done.err
        assert [found.name for found in folder.iterdir()] == ["driver.lock"]
    assert import_(call, path, "simplebaseline").code == 0


def test_an_interrupted_import_is_repeated(call: Call, tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt", PUBLISHED["simplebaseline"].state())
    assert import_(call, path, "simplebaseline").code == 0
    folder = Path("home/trainings/taken")
    (folder / "result.json").unlink()
    (checkpoint,) = folder.rglob("best.ckpt")
    checkpoint.unlink()
    assert import_(call, path, "simplebaseline").code == 0
    assert checkpoint.is_file()
    assert call("evaluate", "taken", "--home", "home").code == 0


def test_a_folder_that_cannot_be_made_is_named_by_its_option(call: Call, tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt", PUBLISHED["simplebaseline"].state())
    done = import_(call, path, "simplebaseline", "--to", "/proc/nose/net")
    assert done.code == 2
    assert "--to /proc/nose/net: /proc/nose/net cannot be written: " in done.err
    assert "--home" not in done.err
