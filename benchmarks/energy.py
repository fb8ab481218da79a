"""How the energy behaves: truth against prediction over the epochs, truth against noise.

    python -m benchmarks.energy --data-dir DIR --figure docs/images/energy.png

trains VideoPose on Human3.6M-formatted data in DIR with each loss-net and objective, and with
one or two kinds of negatives, several seeds each; then draws the energy gap between prediction
and truth on validation poses over the epochs, and the rise of the energy of true test poses
with the noise that is added to their joints.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.method_table import BOTH, BUDGET, GRAPH, MLP
from benchmarks.trainings import NOISE_MM, arguments_parser, machine, open_trainings

mpl.use("Agg")

from matplotlib import pyplot as plt  # the backend first

RATES: dict[str, Any] = {"backbone": "videopose", "lr_p": 1e-3, "alpha": 1e-4}
CASES: dict[str, dict[str, Any]] = {
    "graph, margin": GRAPH,
    "graph, margin, two negatives": {**GRAPH, **BOTH},
    "graph, NCE, two negatives": {**GRAPH, **BOTH, "objective": "nce"},
    "MLP, margin, two negatives": {**MLP, **BOTH},
}


def main() -> None:
    """Train what is missing, draw, and print the table."""
    arguments = _arguments()
    plans = [(case, seed) for case in CASES for seed in range(arguments.seeds)]
    with open_trainings(arguments.data_dir, arguments.work, workers=arguments.workers) as jobs:
        results = jobs.run(
            [
                jobs.configuration(
                    {**BUDGET, **RATES, **CASES[case]}, seed=seed, epochs=arguments.epochs
                )
                for case, seed in plans
            ]
        )
    found: dict[str, list[dict[str, Any]]] = {case: [] for case in CASES}
    for (case, _), result in zip(plans, results, strict=True):
        found[case].append(result)
    rows = [_row(case, mine) for case, mine in found.items()]
    if arguments.figure is not None:
        _draw(rows, arguments.figure)
    if arguments.json:
        print(json.dumps({"rows": rows, "machine": machine(arguments.workers)}))
    else:
        print(_table(rows))


def _arguments() -> argparse.Namespace:
    parser = arguments_parser(__doc__)
    parser.add_argument("--figure", type=Path)
    return parser.parse_args()


def _row(case: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    energies = [result["energy"] for result in results]
    gaps = [[figures["val_energy_gap"] for figures in result["history"]] for result in results]
    return {
        "case": case,
        # to what chance would order rightly
        "ratio": statistics.mean(energy["ordered_percent"] for energy in energies) / 50.0,
        "ordered_percent": [energy["ordered_percent"] for energy in energies],
        "test_gap": [energy["pred"] - energy["truth"] for energy in energies],
        "val_gaps": gaps,
        "rise": {
            f"{mm:g}": [energy["noisy"][f"{mm:g}"] - energy["truth"] for energy in energies]
            for mm in NOISE_MM
        },
    }


def _table(rows: list[dict[str, Any]]) -> str:
    noise = [f"+{mm:g} mm" for mm in NOISE_MM]
    head = ["case", "E(truth) < E(pred)", "test gap", "epochs with a gap > 0", *noise]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        gaps = [gap for epochs in row["val_gaps"] for gap in epochs]
        rises = [f"{statistics.mean(row['rise'][f'{mm:g}']):+.4f}" for mm in NOISE_MM]
        cells = [
            row["case"],
            f"{statistics.mean(row['ordered_percent']):.0f} % of poses",
            f"{statistics.mean(row['test_gap']):+.3f}",
            f"{sum(gap > 0 for gap in gaps)} of {len(gaps)}",
            *rises,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Both panels in units of the case's largest gap, mean and range over the seeds."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for row in rows:
        means = [statistics.mean(gaps) for gaps in zip(*row["val_gaps"], strict=True)]
        unit = max(abs(gap) for gap in means)
        epochs = range(1, len(means) + 1)
        (line,) = left.plot(epochs, [gap / unit for gap in means], marker=".", label=row["case"])
        bands = [[g / unit for g in gaps] for gaps in zip(*row["val_gaps"], strict=True)]
        left.fill_between(
            epochs,
            [min(b) for b in bands],
            [max(b) for b in bands],
            color=line.get_color(),
            alpha=0.12,
            linewidth=0,
        )
        rises = [statistics.mean(row["rise"][f"{mm:g}"]) / unit for mm in NOISE_MM]
        right.plot((0.0, *NOISE_MM), [0.0, *rises], marker=".", label=row["case"])
    for axes in (left, right):
        axes.axhline(0.0, color="grey", linewidth=0.8)
        axes.set_ylabel("energy / largest mean gap of the case")
    left.set(xlabel="epoch", title="E(prediction) − E(truth), validation")
    right.set(xlabel="noise on each coordinate of true joints (mm)")
    right.set_title("E(truth + noise) − E(truth), test")
    right.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
