"""Shared settings of all tests."""

from __future__ import annotations

import pytest

# Contract suites assert outside test modules; their failures should be explained, too.
pytest.register_assert_rewrite(
    "tests.contracts.study_store", "tests.contracts.tracker", "tests.contracts.mlflow_view"
)
