"""Optuna's dashboard on a study store: `python -m tuner.adapters.optuna_dashboard_server`."""

from __future__ import annotations

import os
import sys

from optuna_dashboard import run_server

from tuner.adapters.optuna_storage import open_storage

__all__ = ["main"]


def main() -> None:
    """Serve the store that TUNER_STORAGE names, on the host and port of the arguments."""
    host, port = sys.argv[1:3]
    run_server(open_storage(os.environ["TUNER_STORAGE"]), host=host, port=int(port))


if __name__ == "__main__":
    main()
