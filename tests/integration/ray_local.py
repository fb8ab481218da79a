"""One local Ray for all tests of a module, and a runner on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.tuner.adapters import ray_toys
from tuner.adapters.ray_runner import RayTuneRunner
from tuner.adapters.ray_session import RaySession

# workers cannot import the tests
ray.cloudpickle.register_pickle_by_value(ray_toys)

MakeRunner = Callable[..., RayTuneRunner]


@pytest.fixture(scope="module")
def local_ray() -> Iterator[RaySession]:
    """Ends with its module: what is tested later must find no Ray in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
        session = RaySession("local", num_cpus=2)
        session.open()
    yield session
    session.close()


@pytest.fixture
def make_runner(local_ray: RaySession, tmp_path: Path) -> MakeRunner:
    def make(**options: Any) -> RayTuneRunner:
        common = {"trainable": ray_toys.ToyTrainable, "dataset": None, "session": local_ray}
        given = {**common, **options}
        folders = {"checkpoint_root": tmp_path / "checkpoints", "scratch": tmp_path / "scratch"}
        return RayTuneRunner(**{**folders, **given})

    return make
