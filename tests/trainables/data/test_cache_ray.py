"""A mapped data set in Ray's object store: shared by workers, never copied, never written."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.integration.ray_local import local_ray
from tests.trainables.data.cache_toys import Loader, is_mapped, make_dataset, write_source
from trainables.data.dataset import PoseDataset
from tuner.adapters.ray_session import RaySession

__all__ = ["local_ray"]

# workers cannot import the tests
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = [pytest.mark.integration, pytest.mark.slow]

POSES = 50_000
"""Some 50 MB."""


def look_at(wrapped: list[Any]) -> dict[str, Any]:
    """In a worker: get the data set, read all of it, and see what that took."""

    def own_bytes() -> int:
        text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
        (kib,) = re.findall(r"^Anonymous:\s+(\d+) kB$", text, re.MULTILINE)
        return int(kib) * 1024

    before = own_bytes()
    dataset: PoseDataset = ray.get(wrapped[0])
    arrays = [a for s in dataset.splits.values() for a in (s.x, s.y, s.sequence, s.frame)]
    sums = [float(array.sum()) for array in arrays]
    grown = own_bytes() - before
    copies = [array.copy() for array in arrays]
    return {
        "sums": sums,
        "writeable": any(array.flags.writeable for array in arrays),
        "bytes": sum(array.nbytes for array in arrays),
        "grown": grown,
        "grown_with_copies": own_bytes() - before,
        "copies": len(copies),
        "known_hash": "_content_hash" in dataset.__dict__,
    }


def test_workers_share_a_mapped_data_set(local_ray: RaySession, tmp_path: Path) -> None:
    loader = Loader(write_source(tmp_path / "data", 7), tmp_path / "cache", poses=POSES)
    loader()
    dataset = loader()
    assert is_mapped(dataset)
    assert loader.reads == 1
    reference = ray.put(dataset)
    for path in loader.cache.path.iterdir():
        path.unlink()  # a worker, maybe of another machine, needs no file
    task = ray.remote(num_cpus=1)(look_at)
    found = ray.get([task.remote([reference]) for _ in range(2)])
    expected = make_dataset(7, POSES)
    for one in found:
        assert one["sums"] == [
            float(array.sum())
            for split in expected.splits.values()
            for array in (split.x, split.y, split.sequence, split.frame)
        ]
        assert not one["writeable"]
        assert one["known_hash"], "not computed by each worker again"
        assert one["grown"] < 0.4 * one["bytes"]  # Ray's own, on the first get
        assert one["grown_with_copies"] > 0.9 * one["bytes"], "a copy would have shown"
