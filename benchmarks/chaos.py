"""A small real search, killed at random moments: `python -m benchmarks.chaos [--runs 30]`.

Each run is a whole `tuner greedy` on the bundled sample, on a Ray cluster of two nodes, shown by a
real MLflow server. It is hit as `benchmarks.chaos_plan` draws it, and brought to its end by the
same command. Then everything that it left behind is compared with an undisturbed run
(`benchmarks.chaos_audit`). The exit code is 1 if any audit of any run found a fault.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.chaos_audit import AUDITS, audit
from benchmarks.chaos_cluster import KillableCluster
from benchmarks.chaos_plan import KINDS, Kill, KillKind, RunPlan, plan_run
from benchmarks.chaos_run import Arena, Played, play
from tests.contracts.mlflow_view import MlflowServer
from tuner.adapters.mlflow_session import connect

__all__ = ["arena_in", "main", "play_plan", "row_of"]

STORAGES = {"journal": None, "sqlite": "sqlite:///{home}/studies.db"}
MOST_TRIES = 4


@contextmanager
def arena_in(folder: Path, *, storage: str | None = None) -> Iterator[Arena]:
    """A cluster and an MLflow server, for as many runs as one likes.

    Args:
        folder: Where the server keeps its files.
        storage: As for `Arena`.
    """
    database = f"sqlite:///{folder}/mlflow.db"
    connect(database).search_experiments()
    server = MlflowServer(folder, database)
    server.start()
    try:
        with KillableCluster() as cluster:
            server.wait_until_up()
            yield Arena(cluster, server, database, storage)
    finally:
        server.kill()


def play_plan(
    arena: Arena, folder: Path, plan: RunPlan, *, length_s: float
) -> tuple[RunPlan, Played]:
    """Play a run; one that ended before any of its kills is drawn and played again."""
    for attempt in range(MOST_TRIES):
        name = f"run-{plan.seed}"
        played = play(arena, folder / name, name, plan.kills, length_s=length_s)
        if played.landed:
            break
        kinds: Sequence[KillKind] = [kill.kind for kill in plan.kills]
        plan = plan_run(plan.number, seed=plan.seed + 7919 * (attempt + 1), kinds=kinds)
    return plan, played


def row_of(plan: RunPlan, played: Played, faults: dict[str, list[str]]) -> dict[str, Any]:
    """One line of the table: what hit the run, and how many faults each audit found."""
    return {
        "case": f"run {plan.number}",
        "seed": plan.seed,
        "kills": [_described(kill) for kill in played.landed],
        "drivers_started": played.lives,
        "seconds": round(played.seconds, 1),
        "trials": len(played.account.trials),
        "finished_watched": played.finished_seen,
        **{name: len(faults[name]) for name in AUDITS},
    }


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    arguments = _parse(words)
    storage = STORAGES.get(arguments.storage, arguments.storage)
    rows: list[dict[str, Any]] = []
    home = Path(tempfile.mkdtemp(prefix="chaos-runs-"))
    with arena_in(home, storage=storage) as arena:
        warm = play(arena, home / "warm", "warm", (), length_s=1.0)
        expected = play(arena, home / "undisturbed", "undisturbed", (), length_s=1.0)
        sound = audit(warm.account, expected.account)
        if any(sound.values()):
            _tell(f"two undisturbed runs differ: {json.dumps(sound, indent=1)}")
            return 1
        _tell(f"undisturbed: {expected.seconds:.1f} s, {len(expected.account.trials)} trials")
        for number in range(arguments.runs):
            plan = plan_run(number, seed=arguments.seed, kinds=arguments.kinds)
            plan, played = play_plan(arena, home, plan, length_s=expected.seconds)
            faults = audit(expected.account, played.account)
            if not played.landed:
                faults["own_faults"].append("no kill landed")
            rows.append(row_of(plan, played, faults))
            _tell_run(rows[-1], faults)
            if not any(faults.values()):
                shutil.rmtree(home / f"run-{plan.seed}")
    faulty = [row for row in rows if any(row[name] for name in AUDITS)]
    _print(rows, json_mode=arguments.json, storage=arguments.storage)
    if faulty:
        _tell(f"{len(faulty)} of {len(rows)} runs are not as they should be; see {home}")
        return 1
    shutil.rmtree(home)
    return 0


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument(
        "--storage", default="journal", help="journal, sqlite, or the URL of a database"
    )
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(words)


def _described(kill: Kill) -> str:
    return f"{kill.kind} at {kill.moment:.2f}"


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _tell_run(row: dict[str, Any], faults: dict[str, list[str]]) -> None:
    _tell(f"{row['case']} (seed {row['seed']}): {', '.join(row['kills'])}; {row['seconds']} s")
    for name, found in faults.items():
        for fault in found[:5]:
            _tell(f"  {name}: {fault}")


def _print(rows: list[dict[str, Any]], *, json_mode: bool, storage: str) -> None:
    if json_mode:
        machine = {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "system": platform.platform(),
            "storage": storage,
        }
        print(json.dumps({"rows": rows, "machine": machine}))
        return
    columns = ["case", "seed", "kills", "drivers_started", "seconds", "trials", *AUDITS]
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        cells = [", ".join(row[c]) if c == "kills" else str(row[c]) for c in columns]
        print("| " + " | ".join(cells) + " |")
    landed = sum(len(row["kills"]) for row in rows)
    sums = ", ".join(f"{name} {sum(row[name] for row in rows)}" for name in AUDITS)
    print(f"\n{len(rows)} runs, {landed} kills; {sums}")


if __name__ == "__main__":
    sys.exit(main())
