"""One start in a process of its own: `python -m benchmarks.one_start DATA_DIR CACHE|off|numpy`.

Prints the seconds until the data and their hash were there, imports not counted; with `numpy`,
the seconds that numpy takes for the same files, nothing checked.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from trainables.config import DataConfig
from trainables.data.loading import load_dataset


def main(data_dir: Path, cache: str) -> None:
    """Load, and say how long it took."""
    started = time.perf_counter()
    if cache == "numpy":
        content_hash = _load_unchecked(data_dir)
    else:
        folder = None if cache == "off" else Path(cache)
        dataset = load_dataset(DataConfig(name="h36m"), data_dir, cache=folder)
        content_hash = dataset.content_hash()
    print(json.dumps({"load_s": time.perf_counter() - started, "hash": content_hash}))


def _load_unchecked(data_dir: Path) -> str:
    """What most research code does: run the pickles in the files."""
    for name in ("data_3d_h36m.npz", "data_2d_h36m_gt.npz"):
        with np.load(data_dir / name, allow_pickle=True) as archive:
            for member in archive.files:
                archive[member].item()
    return ""


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
