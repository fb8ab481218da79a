"""Starting on Human3.6M-formatted data: how fast, and how much memory trials share.

    python -m benchmarks.data_start --data-dir DIR

times first and later starts in fresh processes (the files are in the operating system's own
cache all the while); then trains a tiny pose-net in 1 and in 8 worker processes at a time on the
data, repeated to the size of the real ones, and adds up what the data take: once in Ray's object
store, and in each worker.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.data_memory import DataMemory, measure_memory
from benchmarks.trainings import machine

_BYTES_PER_MIB = 2**20


def main() -> None:
    """Measure, and print the tables."""
    arguments = _arguments()
    data_dir = arguments.data_dir.resolve()
    with tempfile.TemporaryDirectory(prefix="data-start-") as folder:
        rows = _starts(data_dir, Path(folder), arguments.repetitions)
        found = measure_memory(
            data_dir, Path(folder), repeats=arguments.repeats, workers=(1, arguments.workers)
        )
    rows += [_memory_row(one, found[0]) for one in found]
    if arguments.json:
        print(json.dumps({"rows": rows, "machine": machine(arguments.workers)}))
    else:
        print(_table(rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True, help="Human3.6M-formatted files")
    parser.add_argument("--repetitions", type=int, default=5, help="of each start")
    parser.add_argument("--workers", type=int, default=8, help="trials at a time")
    parser.add_argument("--repeats", type=int, default=12, help="of the data, for memory")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _starts(data_dir: Path, folder: Path, repetitions: int) -> list[dict[str, Any]]:
    """Rows of the kinds of starts, taken in turn; ratios are to the first start."""
    kinds: dict[str, list[dict[str, Any]]] = {
        "first start": [],
        "later start": [],
        "without cache": [],
    }
    for number in range(repetitions):
        cache = str(folder / str(number))
        for case, given in zip(kinds, (cache, cache, "off"), strict=True):
            kinds[case].append(_one_start(data_dir, given))
    hashes = {one["hash"] for found in kinds.values() for one in found}
    if len(hashes) != 1:
        raise RuntimeError(f"the starts gave different data: {sorted(hashes)}")
    medians = {
        case: {key: statistics.median(one[key] for one in found) for key in ("load_s", "all_s")}
        for case, found in kinds.items()
    }
    first = medians["first start"]
    return [
        {"case": case, "ratio": first["load_s"] / found["load_s"], **found}
        for case, found in medians.items()
    ]


def _one_start(data_dir: Path, given: str) -> dict[str, Any]:
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.one_start", str(data_dir), given],
        check=True,
        capture_output=True,
        text=True,
    )
    return {**json.loads(done.stdout), "all_s": time.perf_counter() - started}


def _memory_row(found: DataMemory, alone: DataMemory) -> dict[str, Any]:
    """A row whose ratio is that of all memory to that of a single worker."""
    private = statistics.mean(found.private_mib)
    return {
        "case": f"memory, {found.workers} at a time",
        "ratio": found.total_mib / alone.total_mib,
        "poses": found.poses,
        "shared_mib": found.shared_mib,
        "private_mib": list(found.private_mib),
        "total_mib": found.total_mib,
        "private_bytes_per_training_pose": private * _BYTES_PER_MIB / found.training_poses,
    }


def _table(rows: list[dict[str, Any]]) -> str:
    starts = [row for row in rows if "load_s" in row]
    memory = [row for row in rows if "poses" in row]
    lines = [
        "| start | data ready after | whole process | faster than the first |",
        "|---" * 4 + "|",
    ]
    lines += [
        f"| {row['case']} | {row['load_s']:.3f} s | {row['all_s']:.2f} s | {row['ratio']:.1f}× |"
        for row in starts
    ]
    lines += ["", "| trials | shared | each | all | to one |", "|---" * 5 + "|"]
    for row in memory:
        private = statistics.mean(row["private_mib"])
        lines.append(
            f"| {row['case']}, {row['poses']:,} poses | {row['shared_mib']:.0f} MiB | "
            f"{private:.1f} MiB | {row['total_mib']:.0f} MiB | {row['ratio']:.3f}× |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
