"""Several processes at one cache, and processes that are killed while they write."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.trainables.data.cache_toys import (
    Loader,
    is_mapped,
    load_at_once,
    make_dataset,
    write_for_ever,
    write_source,
)

POSES = 20_000
"""Some 20 MB: writing them takes long enough to be interrupted."""


@pytest.fixture(scope="module")
def processes() -> Any:  # a context that starts processes fast
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.trainables.data.cache_toys"])
    return context


@pytest.mark.slow
def test_processes_that_start_at_once_all_get_the_data(processes: Any, tmp_path: Path) -> None:
    source, cache = write_source(tmp_path / "data", 3), tmp_path / "cache"
    expected = make_dataset(3, POSES).content_hash()
    for attempt in range(3):
        barrier = processes.Barrier(5)
        answers = [tmp_path / f"{attempt}-{number}.json" for number in range(5)]
        started = [
            processes.Process(target=load_at_once, args=(source, cache, barrier, answer, POSES))
            for answer in answers
        ]
        for process in started:
            process.start()
        for process in started:
            process.join(60)
            assert process.exitcode == 0
        assert [json.loads(answer.read_text()) for answer in answers] == [[expected, True]] * 5
        kinds = sorted(path.suffix for path in cache.iterdir())
        assert kinds == ["", ".json", ".poses"]
        next(cache.glob("*.json")).unlink()


@pytest.mark.fault
@pytest.mark.slow
def test_killed_writers_leave_nothing_wrong(processes: Any, tmp_path: Path) -> None:
    source, cache = write_source(tmp_path / "data", 4), tmp_path / "cache"
    expected = make_dataset(4, POSES).content_hash()
    moments = random.Random(0)
    left_overs = 0
    for _ in range(15):
        started = processes.Event()
        writer = processes.Process(target=write_for_ever, args=(source, cache, started, POSES))
        writer.start()
        assert started.wait(30)
        time.sleep(moments.uniform(0.0, 0.4))
        writer.kill()
        writer.join(10)
        left_overs += len(list(cache.glob("*.part")))
        loader = Loader(source, cache, poses=POSES)
        for _ in range(2):
            dataset = loader()
            assert dataset.content_hash() == expected
            assert is_mapped(dataset)
        assert loader.reads <= 1
        kinds = sorted(path.suffix for path in cache.iterdir())
        assert kinds == ["", ".json", ".poses"]
    assert left_overs, "no writer was killed while it wrote"
