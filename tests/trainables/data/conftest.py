"""Small files of the published formats, valid until a test spoils its own copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainables.data.h36m_writer import (
    Positions,
    Views,
    make_positions,
    make_views,
    write_folder,
)
from tests.trainables.data.mpi_inf_3dhp_writer import Data, make_test, make_training


@pytest.fixture(scope="module")
def positions() -> Positions:
    return make_positions()


@pytest.fixture(scope="module")
def views(positions: Positions) -> Views:
    return make_views(positions)


@pytest.fixture
def folder(tmp_path: Path, positions: Positions, views: Views) -> Path:
    return write_folder(tmp_path / "h36m", positions, views)


@pytest.fixture(scope="module")
def training() -> Data:
    return make_training()


@pytest.fixture(scope="module")
def testing() -> Data:
    return make_test()
