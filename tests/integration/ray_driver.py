"""A driver to be signalled or killed: `python -m tests.integration.ray_driver FOLDER STEP_S`.

With `ADDRESS TRIALS` as well, it joins a cluster, where each trial holds a CPU and has 3 epochs.

It prints `started`, then each epoch, each cancelled trial, and the exit code it would end with.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ray

from tests.tuner.adapters import ray_toys
from tests.tuner.adapters.ray_toys import ListFeed, Recorder, request
from tuner.adapters.ray_placement import Placement, Slot
from tuner.adapters.ray_runner import RayTuneRunner
from tuner.adapters.ray_session import RaySession
from tuner.errors import TunerError
from tuner.ports import Decision
from tuner.records import EpochReport, TrialOutcome, TrialRequest


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Teller(Recorder):
    def on_start(self, request: TrialRequest, *, attempt: int) -> None:
        tell("started")

    def on_epoch(self, stage: str, report: EpochReport) -> Decision:
        tell(f"epoch {report.trial} {report.epoch}")
        return super().on_epoch(stage, report)

    def on_end(self, stage: str, outcome: TrialOutcome) -> None:
        tell(f"end {outcome.trial} {outcome.kind.value}")


def main(folder: Path, step_s: float, address: str = "local", trials: int = 3) -> int:
    ray.cloudpickle.register_pickle_by_value(ray_toys)
    alone = address == "local"
    runner = RayTuneRunner(
        trainable=ray_toys.ToyTrainable,
        dataset=None,
        checkpoint_root=folder / "checkpoints",
        scratch=folder / "scratch",
        max_concurrent=2,
        placement=Placement(Slot(0.5 if alone else 1.0)),
        session=RaySession(address),
    )
    epochs = 1000 if alone else 3
    feed = ListFeed([request(trial, epochs=epochs, step_s=step_s) for trial in range(trials)])
    try:
        with runner:
            runner.run(feed, Teller())
    except TunerError as error:
        tell(f"error {error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    words = sys.argv[1:]
    joined = (words[2], int(words[3])) if len(words) > 2 else ("local", 3)
    sys.exit(main(Path(words[0]), float(words[1]), *joined))
