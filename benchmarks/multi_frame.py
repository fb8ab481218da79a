"""Whether the six multi-frame nets learn: small ones, each alone and with a learned energy.

    python -m benchmarks.multi_frame --data-dir DIR

trains on Human3.6M-formatted data in DIR each net as the preset `quick` has it (windows of 9
frames, a few hundred thousand weights), by its authors' loss and optimizer, for --epochs epochs
of 125 steps: alone, and with a graph loss-net. The table has the training's own loss in the first
and the last epoch, and what the best validation epoch does on test, beside a constant that all
must beat: the mean pose of the training split. Trainings that are done are kept in --work, so
that an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import statistics
from typing import Any

from benchmarks.trainings import (
    arguments_parser,
    machine,
    mean_pose_mpjpe_mm,
    open_trainings,
)
from trainables.backbones import BACKBONES
from trainables.config import MANY_TO_MANY, BackboneName, DataConfig
from trainables.skeletons import H36M_17
from tuner.presets import PRESETS
from tuner.wiring.preset_fields import merged, preset_training

STEPS_PER_EPOCH = 125
LR_P = 1e-3
ENERGY_POSES = 36
GRAPH: dict[str, Any] = {
    "loss_net": "graph",
    "loss_net_options": {"width": 64, "depth": 3, "heads": 4},
    "lr_l": 1e-3,
    "alpha": 2.5e-3,
}
METHODS: dict[str, dict[str, Any]] = {"baseline": {"loss_net": "none"}, "SEAL": GRAPH}
# on tens of thousands of test poses, the quick preset's hypotheses take longer than the training
FIELDS: dict[str, dict[str, Any]] = {"d3dp": {"test_hypotheses": 2, "test_iterations": 1}}
NETS = tuple(name for name, entry in BACKBONES.items() if not entry.recipe.single_frame)

Case = tuple[BackboneName, str]
"""Backbone and method."""


def main() -> None:
    """Train what is missing, and print the table."""
    arguments = _arguments()
    cases = [(name, method) for name in arguments.backbone or NETS for method in METHODS]
    with open_trainings(arguments.data_dir, arguments.work, workers=arguments.workers) as jobs:
        tasks = [(case, seed) for case in cases for seed in range(arguments.seeds)]
        results = jobs.run(
            [
                jobs.configuration(_fields(*case), seed=seed, epochs=arguments.epochs)
                for case, seed in tasks
            ]
        )
    found: dict[Case, list[dict[str, Any]]] = {case: [] for case in cases}
    for (case, _), result in zip(tasks, results, strict=True):
        found[case].append(result)
    constant_mm = mean_pose_mpjpe_mm(DataConfig(name="h36m"), arguments.data_dir)
    rows = [_row(case, found[case]) for case in cases]
    if arguments.json:
        figures = {"rows": rows, "mean_pose_mpjpe_mm": constant_mm}
        print(json.dumps({**figures, "machine": machine(arguments.workers)}))
    else:
        print(_table(rows, constant_mm))


def _arguments() -> argparse.Namespace:
    parser = arguments_parser(__doc__)
    parser.set_defaults(seeds=1)
    parser.add_argument("--backbone", action="append", choices=NETS, help="only these")
    return parser.parse_args()


def _fields(backbone: BackboneName, method: str) -> dict[str, Any]:
    """The preset's fields for the net, which is trained for as many steps as all others."""
    own = METHODS[method]
    with_loss_net = own["loss_net"] != "none"
    fields = preset_training(PRESETS["quick"], backbone, "h36m", loss_net=with_loss_net)
    fields = merged(fields, {**own, "backbone": backbone, "lr_p": LR_P})
    if with_loss_net:
        lifted = fields["data"]["frames"] if backbone in MANY_TO_MANY else 1
        fields["energy_poses"] = ENERGY_POSES // lifted
    return {**fields, **FIELDS.get(backbone, {}), "steps_per_epoch": STEPS_PER_EPOCH}


def _row(case: Case, results: list[dict[str, Any]]) -> dict[str, Any]:
    backbone, method = case
    configuration = results[0]["configuration"]
    options = configuration["backbone_options"]
    histories = [result["history"] for result in results]
    energies = [result["energy"] for result in results if result["energy"] is not None]
    tested = [result["test"] for result in results]
    return {
        "case": f"{backbone}: {method}",
        "backbone": backbone,
        "method": method,
        "frames": options["frames"],
        "parameters": BACKBONES[backbone].count_parameters(H36M_17, **options),
        "first_loss": statistics.mean(history[0]["train_pose_loss"] for history in histories),
        "last_loss": statistics.mean(history[-1]["train_pose_loss"] for history in histories),
        "mpjpe_mm": statistics.mean(test["mpjpe_mm"] for test in tested),
        "p_mpjpe_mm": statistics.mean(test["p_mpjpe_mm"] for test in tested),
        "ordered_percent": (
            statistics.mean(energy["ordered_percent"] for energy in energies) if energies else None
        ),
    }


def _table(rows: list[dict[str, Any]], constant_mm: float) -> str:
    head = ["backbone", "T", "weights", "method", "training loss, first → last epoch"]
    head += ["MPJPE (mm)", "P-MPJPE (mm)", "E(truth) < E(pred)"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        ordered = row["ordered_percent"]
        cells = [
            *(row["backbone"], str(row["frames"]), f"{row['parameters']:,}", row["method"]),
            f"{row['first_loss']:.3f} → {row['last_loss']:.3f}",
            *(f"{row[name]:.1f}" for name in ("mpjpe_mm", "p_mpjpe_mm")),
            "–" if ordered is None else f"{ordered:.0f} % of poses",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"The mean pose: {constant_mm:.1f} mm."])


if __name__ == "__main__":
    main()
