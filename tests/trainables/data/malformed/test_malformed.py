"""Every malformed input is refused with its message, runs nothing, and leaves nothing behind."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trainables.data.malformed.case import Case, write_valid
from tests.trainables.data.malformed.cases import CASES
from tests.trainables.data.malformed.pickles import EXTENSION_CODE, PICKLES
from tests.trainables.data.malformed.running import (
    inspect_as_stranger,
    inspect_in_process,
    inspect_in_subprocess,
    listing,
    spoiled_folder,
)
from trainables.config import DataConfig, DatasetName
from trainables.data.cache.folder import CacheFolder
from trainables.data.loading import load_dataset
from trainables.errors import DataError, UnsafeDataError

IN_A_PROCESS = 5
"""Every so many-th case is run as a process of its own, too."""
UNPICKLE = (
    "import copyreg, pickle, sys\n"
    f"copyreg.add_extension('posix', 'system', {EXTENSION_CODE})\n"
    "pickle.load(open(sys.argv[1], 'rb'))\n"
)
ordinary = [case for case in CASES if not case.as_stranger]
live = [case for case in PICKLES if case.live]


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TUNER_HOME", str(folder / "runs"))
    cache = CacheFolder(tmp_path / "cache")
    cache.prepare()  # the empty cache's own files are no leavings
    monkeypatch.setenv("TUNER_DATA_CACHE", str(cache.path))
    return folder


def names(cases: list[Case]) -> list[str]:
    return [f"{case.dataset}: {case.name}" for case in cases]


def test_the_catalogue_is_large_and_its_names_are_different() -> None:
    assert len(CASES) >= 40
    assert len(set(names(list(CASES)))) == len(CASES)


@pytest.mark.parametrize("dataset", ["h36m", "mpi_inf_3dhp", "h3wb", "poses"])
def test_the_folders_are_valid_before_they_are_spoiled(
    tmp_path: Path, dataset: DatasetName
) -> None:
    load_dataset(DataConfig(name=dataset), write_valid(dataset, tmp_path))


@pytest.mark.parametrize("case", ordinary, ids=names(ordinary))
def test_it_is_refused_runs_nothing_and_leaves_nothing(
    tmp_path: Path, cwd: Path, case: Case
) -> None:
    folder = spoiled_folder(case, tmp_path)
    before = listing(tmp_path)
    with pytest.raises(DataError, match=re.compile(case.message, re.DOTALL)) as caught:
        load_dataset(DataConfig(name=case.dataset), folder, cache=tmp_path / "cache")
    assert isinstance(caught.value, UnsafeDataError) == case.unsafe
    done = inspect_in_process(case, folder)
    assert (done.code, done.out) == (2, "")
    assert re.search(case.message, done.err, re.DOTALL)
    assert "Traceback" not in done.err
    assert done.err.startswith("tuner: ")
    assert done.err.count("tuner: ") == 1
    assert listing(tmp_path) == before


@pytest.mark.integration
@pytest.mark.parametrize("case", ordinary[::IN_A_PROCESS], ids=names(ordinary[::IN_A_PROCESS]))
def test_it_is_refused_by_a_process_of_its_own(tmp_path: Path, cwd: Path, case: Case) -> None:
    folder = spoiled_folder(case, tmp_path)
    before = listing(tmp_path)
    done = inspect_in_subprocess(case, folder)
    assert (done.code, done.out) == (2, "")
    assert re.search(case.message, done.err, re.DOTALL)
    assert "Traceback" not in done.err
    assert listing(tmp_path) == before


@pytest.mark.parametrize("case", live, ids=names(live))
def test_the_payload_would_run(tmp_path: Path, case: Case) -> None:
    """Without this, a payload that does nothing anywhere would pass for one that is refused."""
    assert case.payload is not None
    marker, file = tmp_path / "executed", tmp_path / "payload.pickle"
    file.write_bytes(case.payload(marker))
    subprocess.run(
        [sys.executable, "-c", UNPICKLE, str(file)], check=False, timeout=60, capture_output=True
    )
    for _ in range(100):  # what was started may take a moment
        if marker.exists():
            break
        subprocess.run(["sleep", "0.05"], check=True)
    assert marker.exists()


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that everybody may enter, which pytest's are not."""
    place = Path(tempfile.mkdtemp(prefix="malformed-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


STRANGE = [case for case in CASES if case.as_stranger]


@pytest.mark.integration
@pytest.mark.parametrize("case", STRANGE, ids=names(STRANGE))
def test_what_may_not_be_read_is_refused(
    open_place: Path, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another user's process, where this one may read everything."""
    monkeypatch.setenv("TUNER_DATA_CACHE", "off")  # which is not that user's
    folder = spoiled_folder(case, open_place)
    done = inspect_as_stranger(case, folder)
    assert (done.code, done.out) == (2, "")
    assert re.search(case.message, done.err, re.DOTALL)
    assert "Traceback" not in done.err
