"""Shared settings of all tests."""

from __future__ import annotations

import os
import signal
import tempfile

# A shell that starts its jobs in the background has them ignore SIGINT, and their children too:
# tests that interrupt would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# One thread per process, as in a trial: tests are small, and two processes run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

# Contract suites assert outside test modules; their failures should be explained, too.
pytest.register_assert_rewrite(
    "tests.contracts.study_store", "tests.contracts.tracker", "tests.contracts.mlflow_view"
)

# Decoded data are kept for this session alone, never in the user's own folder.
_data_cache = tempfile.TemporaryDirectory(prefix="data-cache-")
os.environ["TUNER_DATA_CACHE"] = _data_cache.name
