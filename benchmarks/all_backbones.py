"""The whole search for every pose-net, one after the other.

    python -m benchmarks.all_backbones

runs `tuner greedy --backbone B --preset quick` for all nine nets on the bundled data, each in a
process of its own, and prints what came of it; exit code 1 if any did not finish. With
`--dataset` and `--data-dir` on other data; whatever else is given goes to `tuner greedy`, as
`--epochs 2` or `--set energy_poses=1`. About 5 minutes a net on two processor cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from benchmarks.trainings import machine, mean_pose_mpjpe_mm
from trainables.config import BackboneName, DataConfig

LAST_LINES = 20


def main() -> int:
    """Run the searches, print the table, and say whether all finished."""
    arguments, passed_on = _arguments()
    rows = []
    with _folder(arguments.out) as folder:
        for backbone in arguments.backbone or get_args(BackboneName):
            row = _search(backbone, folder, [*_data(arguments), *passed_on])
            rows.append(row)
            print(f"{backbone}: {row['state']}, {row['minutes']:.1f} min", file=sys.stderr)
    data = DataConfig.model_validate({"name": arguments.dataset or "sample"})
    constant_mm = mean_pose_mpjpe_mm(data, arguments.data_dir)
    if arguments.json:
        figures = {"rows": rows, "mean_pose_mpjpe_mm": constant_mm}
        print(json.dumps({**figures, "machine": machine(os.cpu_count() or 1)}))
    else:
        print(f"{_table(rows)}\n\nThe mean pose: {constant_mm:.1f} mm.")
    return int(any(row["state"] != "finished" for row in rows))


def _arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--backbone", action="append", choices=get_args(BackboneName), help="only these"
    )
    parser.add_argument("--dataset", help="instead of the bundled data")
    parser.add_argument("--data-dir", type=Path, help="folder of the data")
    parser.add_argument("--out", type=Path, help="folder of the runs [default: a temporary one]")
    parser.add_argument("--json", action="store_true")
    return parser.parse_known_args()


def _data(arguments: argparse.Namespace) -> list[str]:
    given = {"--dataset": arguments.dataset, "--data-dir": arguments.data_dir}
    return [str(word) for pair in given.items() if pair[1] is not None for word in pair]


@contextmanager
def _folder(chosen: Path | None) -> Iterator[Path]:
    if chosen is not None:
        chosen.mkdir(parents=True, exist_ok=True)
        yield chosen.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="all-backbones-") as folder:
        yield Path(folder)


def _search(backbone: str, folder: Path, options: list[str]) -> dict[str, Any]:
    """One search; what it says goes to a file beside the runs, its end to the error output."""
    command = [sys.executable, "-m", "tuner", "greedy", "--backbone", backbone]
    command += ["--preset", "quick", "--home", str(folder), "--json", *options]
    log = folder / f"{backbone}.log"
    started = time.perf_counter()
    with log.open("w", encoding="utf-8") as errors:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, check=False
        )
    minutes = (time.perf_counter() - started) / 60.0
    if done.returncode != 0:
        last = log.read_text(encoding="utf-8").splitlines()[-LAST_LINES:]
        print("\n".join([f"{backbone}: exit code {done.returncode}", *last]), file=sys.stderr)
        return {"backbone": backbone, "state": f"exit code {done.returncode}", "minutes": minutes}
    return {"backbone": backbone, "minutes": minutes, **_found(json.loads(done.stdout))}


def _found(summary: dict[str, Any]) -> dict[str, Any]:
    """What the table shows of a search."""
    baseline, seal = summary["baseline"], summary["seal"]
    return {
        "state": summary["state"],
        "run": summary["run"],
        "trials": sum(stage["trials"]["trained"] for stage in summary["stages"]),
        "failed": sum(stage["trials"]["failed"] for stage in summary["stages"]),
        "params": None if seal is None else seal["params"],
        "baseline_mpjpe_mm": _test_mpjpe_mm(baseline),
        "seal_mpjpe_mm": _test_mpjpe_mm(seal),
    }


def _test_mpjpe_mm(tested: dict[str, Any] | None) -> float | None:
    if tested is None or tested["test"] is None:
        return None
    return float(tested["test"]["mpjpe_mm"])


def _table(rows: list[dict[str, Any]]) -> str:
    head = ["backbone", "state", "trials", "winner"]
    head += ["baseline test MPJPE (mm)", "SEAL test MPJPE (mm)", "minutes"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        params = row.get("params") or {}
        cells = [
            *(row["backbone"], row["state"], str(row.get("trials", "–"))),
            ", ".join(f"{name} {value:g}" for name, value in params.items()) or "–",
            *(_figure(row.get(name)) for name in ("baseline_mpjpe_mm", "seal_mpjpe_mm")),
            f"{row['minutes']:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
