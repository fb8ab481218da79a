"""One start in a process of its own: `python -m benchmarks.one_start DATA_DIR CACHE|off`.

Prints the seconds until the data and their hash were there, imports not counted.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from trainables.config import DataConfig
from trainables.data.loading import load_dataset


def main(data_dir: Path, cache: str) -> None:
    """Load, and say how long it took."""
    started = time.perf_counter()
    folder = None if cache == "off" else Path(cache)
    content_hash = load_dataset(DataConfig(name="h36m"), data_dir, cache=folder).content_hash()
    print(json.dumps({"load_s": time.perf_counter() - started, "hash": content_hash}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
