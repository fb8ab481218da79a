"""Shared settings of all tests."""

from __future__ import annotations

import os

# One thread per process, as in a trial: tests are small, and two processes run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

# Contract suites assert outside test modules; their failures should be explained, too.
pytest.register_assert_rewrite(
    "tests.contracts.study_store", "tests.contracts.tracker", "tests.contracts.mlflow_view"
)
