"""What a step of every pose-net costs in its paper's size: memory and time.

    python -m benchmarks.full_size

passes random clips of the paper's length through each of the nine nets, and trains one step
with the authors' recipe, without and with a graph loss-net; for the largest nets also with what
saves memory: blocks computed again (`checkpoint_activations`), the batch in two parts
(`accumulate`), bfloat16 (`autocast`). Every row is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, get_args

import torch

from benchmarks.one_step import Case
from benchmarks.trainings import machine
from trainables.backbones import BACKBONES
from trainables.config import MANY_TO_MANY, BackboneName

POSES, WINDOWS, CLIPS = 64, 16, 1
_MMAP_BYTES = 2**18
SAVING: Sequence[dict[str, Any]] = (
    {"checkpoint_activations": True},
    {"accumulate": 2},
    {"autocast": "bf16"},
    {"checkpoint_activations": True, "accumulate": 2, "autocast": "bf16"},
)
LARGE: Sequence[BackboneName] = ("mixste", "ktpformer", "motionagformer")


def main() -> None:
    """Measure one case after another, and print the table."""
    arguments = _arguments()
    rows = []
    for case in _cases(arguments):
        rows.append(_run(case))
        row = rows[-1]
        done = f"{case.backbone} {_method(row)} {_saving(row)}: {row['step_mib']:.0f} MiB"
        print(done, file=sys.stderr, flush=True)
    if arguments.json:
        described = machine(1) | {"device": arguments.device, "threads": arguments.threads}
        if arguments.device == "cuda":
            described["gpu"] = torch.cuda.get_device_name()
        print(json.dumps({"rows": rows, "machine": described}))
    else:
        print(_table(rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", nargs="+", choices=get_args(BackboneName), metavar="NAME")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--clips", type=int, default=CLIPS, help="of nets that lift all frames")
    parser.add_argument("--windows", type=int, default=WINDOWS, help="of those that lift one")
    parser.add_argument("--poses", type=int, default=POSES, help="of those that see single poses")
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.device == "auto":
        arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    return arguments


def _cases(arguments: argparse.Namespace) -> Iterator[Case]:
    for name in arguments.backbone or BACKBONES:
        variants: list[tuple[bool, dict[str, Any]]] = [(False, {}), (True, {})]
        if name in LARGE:
            variants += [(False, options) for options in SAVING]
        for energy, options in variants:
            yield Case(
                backbone=name,
                clips=max(_batch_size(name, arguments), options.get("accumulate", 1)),
                energy=energy,
                options=options,
                device=arguments.device,
                threads=arguments.threads,
                repetitions=arguments.repetitions,
            )


def _batch_size(name: BackboneName, arguments: argparse.Namespace) -> int:
    if name in MANY_TO_MANY:
        return int(arguments.clips)
    return int(arguments.poses if BACKBONES[name].frames == 1 else arguments.windows)


def _run(case: Case) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.one_step", json.dumps(asdict(case))]
    # glibc would keep what has been freed, in pieces that do not fit the next tensor
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(_MMAP_BYTES)}
    result = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, text=True, env=environment
    )
    row: dict[str, Any] = json.loads(result.stdout)
    return row


def _method(row: dict[str, Any]) -> str:
    return "SEAL" if row["energy"] else "baseline"


def _saving(row: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in row["options"].items()) or "–"


def _table(rows: list[dict[str, Any]]) -> str:
    head = ["backbone", "T", "clips", "method", "options", "forward (MiB)", "(s)"]
    head += ["step (MiB)", "of it weights, gradients, moments", "rest per clip"]
    head += ["step (s)", "processor (s)"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [
            *(row["backbone"], str(row["frames"]), str(row["clips"])),
            *(_method(row), _saving(row)),
            *(f"{row['forward_mib']:.0f}", f"{row['forward_s']:.3g}"),
            *(f"{row['step_mib']:.0f}", f"{row['weights_mib']:.0f}"),
            *(f"{row['step_mib_per_clip']:.3g}", f"{row['step_s']:.3g}"),
            f"{row['step_processor_s']:.3g}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
