"""Which parts of the method help, at one fixed budget.

    python -m benchmarks.method_table --data-dir DIR

trains, on Human3.6M-formatted data in DIR, VideoPose and SimpleBaseline alone, with explicit
constraints, and with each loss-net, objective and input mechanism. Every method is tuned alike:
one value (lr_p for the baseline, the weight of what is added for the others) chosen on
validation, with a seed that is not used again. Then it is trained with fresh seeds, and its best
validation epoch is tested. Trainings that are done are kept in --work, so that an interrupted
benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks.trainings import Trainings, arguments_parser, machine, open_trainings

BACKBONES = ("videopose", "simplebaseline")
TUNING_SEED = 100
METRICS = {
    "mpjpe_mm": "MPJPE (mm)",
    "p_mpjpe_mm": "P-MPJPE (mm)",
    "lse": "LSE (%)",
    "lle": "LLE (%)",
    "bsle": "BSLE (%)",
}
BUDGET: dict[str, Any] = {
    "backbone_options": {"channels": 256},
    "batch_size": 128,
    "steps_per_epoch": 125,
}
ENERGY: dict[str, Any] = {"lr_l": 1e-3, "energy_poses": 32, "negatives_from": "eval_forward"}
GRAPH: dict[str, Any] = {
    **ENERGY,
    "loss_net": "graph",
    "loss_net_options": {"width": 64, "depth": 3, "heads": 4},
}
MLP: dict[str, Any] = {**ENERGY, "loss_net": "mlp", "loss_net_options": {"hidden": 512}}
BOTH: dict[str, Any] = {
    "negatives": "both",
    "num_perturbations": 1,
    "perturbation_radius": 0.01,
    "negatives_from": "train_forward",
}
METHODS: dict[str, dict[str, Any]] = {
    "baseline": {"loss_net": "none"},
    "constraint baseline": {"loss_net": "none"},
    "SEAL graph margin (M3)": GRAPH,
    "SEAL graph NCE (M3)": {**GRAPH, "objective": "nce"},
    "SEAL MLP margin (M3)": MLP,
    "SEAL graph margin M1": {**GRAPH, "input": "M1"},
    "SEAL graph margin M2": {**GRAPH, "input": "M2"},
    "SEAL graph margin M4": {**GRAPH, "input": "M4"},
    "SEAL graph margin (M3), two negatives": {**GRAPH, **BOTH},
}
LR_P = (1e-3, 3e-3, 1e-2)
ALPHA = (1e-4, 5e-4, 2.5e-3)
CONSTRAINT = (3e-3, 1e-2, 3e-2)

Case = tuple[str, str]
"""Backbone and method."""


def main() -> None:
    """Train what is missing, and print the table."""
    arguments = _arguments()
    with open_trainings(arguments.data_dir, arguments.work, workers=arguments.workers) as jobs:
        chosen = _tune(jobs, arguments.tuning_epochs)
        finals = [(case, seed) for case in chosen for seed in range(arguments.seeds)]
        epochs = arguments.epochs
        results = jobs.run(
            [jobs.configuration(chosen[case], seed=seed, epochs=epochs) for case, seed in finals]
        )
    found: dict[Case, list[dict[str, Any]]] = {case: [] for case in chosen}
    for (case, _), result in zip(finals, results, strict=True):
        found[case].append(result)
    rows = [_row(case, found, chosen[case]) for case in chosen]
    if arguments.json:
        print(json.dumps({"rows": rows, "machine": machine(arguments.workers), "budget": BUDGET}))
    else:
        print(_table(rows))


def _arguments() -> argparse.Namespace:
    parser = arguments_parser(__doc__)
    parser.add_argument("--tuning-epochs", type=int, default=5)
    return parser.parse_args()


def _tune(jobs: Trainings, epochs: int) -> dict[Case, dict[str, Any]]:
    """The fields of each case, one of them chosen by the lowest validation MPJPE."""
    baselines = {
        (backbone, "baseline"): [
            {**BUDGET, "backbone": backbone, "loss_net": "none", "lr_p": rate} for rate in LR_P
        ]
        for backbone in BACKBONES
    }
    chosen = _best(jobs, baselines, epochs)
    variants = {
        (backbone, method): _variants({**chosen[backbone, "baseline"], **fields})
        for backbone in BACKBONES
        for method, fields in METHODS.items()
        if method != "baseline"
    }
    chosen |= _best(jobs, variants, epochs)
    return {(b, m): chosen[b, m] for b in BACKBONES for m in METHODS}


def _variants(fields: dict[str, Any]) -> list[dict[str, Any]]:
    if fields["loss_net"] != "none":
        return [{**fields, "alpha": value} for value in ALPHA]
    return [{**fields, "length_weight": v, "symmetry_weight": v} for v in CONSTRAINT]


def _best(
    jobs: Trainings, variants: Mapping[Case, list[dict[str, Any]]], epochs: int
) -> dict[Case, dict[str, Any]]:
    flat = [(case, fields) for case, options in variants.items() for fields in options]
    results = jobs.run([jobs.configuration(f, seed=TUNING_SEED, epochs=epochs) for _, f in flat])
    best: dict[Case, tuple[float, dict[str, Any]]] = {}
    for (case, fields), result in zip(flat, results, strict=True):
        if case not in best or result["val_mpjpe_mm"] < best[case][0]:
            best[case] = (result["val_mpjpe_mm"], fields)
    return {case: fields for case, (_, fields) in best.items()}


def _row(
    case: Case, found: Mapping[Case, list[dict[str, Any]]], fields: Mapping[str, Any]
) -> dict[str, Any]:
    backbone, method = case
    tested = [result["test"] for result in found[case]]
    reference = statistics.mean(r["test"]["mpjpe_mm"] for r in found[backbone, "baseline"])
    mean = {name: statistics.mean(test[name] for test in tested) for name in METRICS}
    spread = {
        name: statistics.stdev(test[name] for test in tested) if len(tested) > 1 else 0.0
        for name in METRICS
    }
    energies = [r["energy"] for r in found[case] if r["energy"] is not None]
    return {
        "case": f"{backbone}: {method}",
        "backbone": backbone,
        "method": method,
        "ratio": mean["mpjpe_mm"] / reference,
        "mean": mean,
        "spread": spread,
        "difference_mm": [
            mine["mpjpe_mm"] - other["test"]["mpjpe_mm"]
            for mine, other in zip(tested, found[backbone, "baseline"], strict=True)
        ],
        "tuned": {n: fields[n] for n in ("lr_p", "alpha", "length_weight") if n in fields},
        "ordered_percent": (
            statistics.mean(energy["ordered_percent"] for energy in energies) if energies else None
        ),
    }


def _table(rows: list[dict[str, Any]]) -> str:
    head = ["backbone", "method", "tuned", *METRICS.values()]
    head += ["MPJPE − baseline, by seed (mm)", "E(truth) < E(pred)"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        figures = [f"{row['mean'][n]:.2f} ± {row['spread'][n]:.2f}" for n in METRICS]
        tuned = ", ".join(f"{name} {value:g}" for name, value in row["tuned"].items())
        ordered = row["ordered_percent"]
        share = "–" if ordered is None else f"{ordered:.0f} % of poses"
        pairs = ", ".join(f"{difference:+.2f}" for difference in row["difference_mm"])
        cells = [row["backbone"], row["method"], tuned, *figures, pairs, share]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
