"""Measures what a user names on a data set, the one of its training or another."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from pydantic import ValidationError

from trainables.backbones._training import check_iterations
from trainables.config import (
    FIELDS_OF_DATA_SETS,
    PROBABILISTIC,
    DataConfig,
    DatasetName,
    TrainingConfig,
)
from trainables.data.dataset import PoseDataset
from trainables.data.loading import load_dataset
from trainables.errors import TrainableError
from trainables.metrics.report import EvaluationReport, Table
from trainables.seal.lifting import Lifting, final_lifting, window_of
from tuner.adapters.mlflow_fetch import is_model_uri
from tuner.errors import ConfigurationError
from tuner.greedy_config import describe_faults
from tuner.settings import Locations, data_cache
from tuner.wiring.lifter import Lifter, device_named, load_lifter, measure
from tuner.wiring.targets import find_targets

__all__ = [
    "SPLITS",
    "DataChoice",
    "Evaluation",
    "SamplingChoice",
    "SystemReport",
    "evaluate_named",
    "ordinal",
    "to_csv",
]

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class DataChoice:
    """Which data to measure on.

    Attributes:
        dataset: Name of the data set; None for that of the training.
        data_dir: Folder of its files; None for where the training had them.
        keypoints: 2D key points; None for those of the training, `gt` on another data set.
        split: `train`, `val` or `test`.
        stride: Every how many-th frame is measured; None for all, whatever the training used,
            but for a net that looks at neighbours, which get those at its training's distance.
    """

    dataset: str | None = None
    data_dir: Path | None = None
    keypoints: str | None = None
    split: str = "test"
    stride: int | None = None


@dataclass(frozen=True)
class SamplingChoice:
    """How a net that samples hypotheses does so; None for what its training tested it with.

    Attributes:
        hypotheses: Hypotheses H of each pose.
        iterations: Iterations K of the sampler.
    """

    hypotheses: int | None = None
    iterations: int | None = None

    def applied(self, lifter: Lifter) -> Lifting:
        """How a net makes its predictions.

        Raises:
            ConfigurationError: If it samples none, or its sampler takes fewer iterations.
        """
        chosen = {name: value for name, value in asdict(self).items() if value is not None}
        if chosen and lifter.config.backbone not in PROBABILISTIC:
            given = " and ".join(f"--{name}" for name in chosen)
            raise ConfigurationError(
                f"{given}: {lifter.checkpoint} is a {lifter.config.backbone}, which gives one "
                f"prediction; only {', '.join(PROBABILISTIC)} samples several, leave {given} out"
            )
        try:
            check_iterations(lifter.net, {"--iterations": chosen.get("iterations", 1)})
        except TrainableError as error:
            raise ConfigurationError(str(error)) from error
        return replace(final_lifting(lifter.config), **chosen)


@dataclass(frozen=True)
class SystemReport:
    """How one net did.

    Attributes:
        system: `model`, or of a search `seal` and `baseline`.
        checkpoint: Where its weights were read.
        fingerprint: Of its training.
        data: The data that it was measured on.
        split: The split of these.
        training: What it was trained with.
        lifting: How its predictions were made.
        report: Figures and tables.
        found: What is to be known of how it was found.
    """

    system: str
    checkpoint: str
    fingerprint: str
    data: DataConfig
    split: str
    training: TrainingConfig
    lifting: Lifting
    report: EvaluationReport
    found: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the figures has to know."""
        said = [*self._notes_on_data(), *self._notes_on_frames(), *self._notes_on_hypotheses()]
        if (self.split, self.training.select_on) == ("test", "test") and self._same_data:
            said.append("chosen on test, optimistic")
        return (*self.found, *(f"{self.system}: {note}" for note in said))

    @property
    def _same_data(self) -> bool:
        return self.data.name == self.training.data.name

    def _notes_on_data(self) -> Iterator[str]:
        trained_on = self.training.data
        if not self._same_data:
            yield f"trained on {trained_on.name}, not on {self.data.name}"
            return
        content_hash = self.data.content_hash
        comparable = self.data == trained_on.model_copy(update={"content_hash": content_hash})
        if comparable and trained_on.content_hash not in ("", content_hash):
            yield "the data are not those of its training: they have changed"

    def _notes_on_frames(self) -> Iterator[str]:
        stride = self.training.data.stride
        if self.data.stride != 1:
            yield f"measured on every {ordinal(self.data.stride)} frame only"
        elif stride != 1 and self._same_data:
            yield (
                f"its training measured it on every {ordinal(stride)} frame; these figures are "
                "of every frame"
            )

    def _notes_on_hypotheses(self) -> Iterator[str]:
        if self.training.backbone not in PROBABILISTIC:
            return
        count = self.lifting.hypotheses
        after = f"after {_counted(self.lifting.iterations, 'iteration')}"
        if count == 1:
            yield f"one hypothesis {after}"
            return
        yield (
            f"mean of {count} hypotheses {after}; J-Best and P-Best look at the ground truth, and "
            "fall with the number of hypotheses for free"
        )
        if "j_agg_mpjpe_mm" not in self.report.figures:
            yield "no J-Agg, which needs cameras and root positions: these data lack them"
        elif (self.data.name, self.data.annotation) == ("mpi_inf_3dhp", "univ_annot3"):
            yield "J-Agg chooses by reprojection, which fits annot3, not the rescaled univ_annot3"

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        sampled = self.training.backbone in PROBABILISTIC
        return {
            "system": self.system,
            "checkpoint": self.checkpoint,
            "fingerprint": self.fingerprint,
            "dataset": self.data.name,
            "keypoints": self.data.keypoints,
            "stride": self.data.stride,
            "hypotheses": self.lifting.hypotheses if sampled else None,
            "iterations": self.lifting.iterations if sampled else None,
            "content_hash": self.data.content_hash,
            "trained_on": self.training.data.name,
            "select_on": self.training.select_on,
            "notes": list(self.notes),
            **self.report.to_json(),
        }


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        named: What the user named.
        split: The split.
        systems: One for a checkpoint; baseline and SEAL for a search.
    """

    named: str
    split: str
    systems: tuple[SystemReport, ...]

    def to_json(self) -> dict[str, Any]:
        """The evaluation as JSON values: what `tuner evaluate --json` prints."""
        systems = [system.to_json() for system in self.systems]
        return {"target": self.named, "split": self.split, "systems": systems}


def evaluate_named(
    named: str,
    locations: Locations,
    choice: DataChoice,
    *,
    sampling: SamplingChoice = SamplingChoice(),
    device: str = "auto",
) -> Evaluation:
    """Measure a checkpoint, a training, a search's winners or a model.

    Args:
        named: As `find_targets` takes it.
        locations: Where trainings, searches and models are.
        choice: Which data to measure on.
        sampling: How hypotheses are sampled.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        ConfigurationError: If there is no such thing, or it does not fit the data.
        CheckpointError: If a checkpoint is damaged.
        DataError: If the data cannot be used.
        TrackingError: If MLflow cannot be reached.
    """
    _check_choice(choice)
    where = device_named(device)
    with find_targets(named, locations) as targets:
        lifters = [load_lifter(target.checkpoint, device=where) for target in targets]
        liftings = [sampling.applied(lifter) for lifter in lifters]
        loaded: dict[DataConfig, tuple[DataConfig, PoseDataset]] = {}
        systems = []
        for target, lifter, lifting in zip(targets, lifters, liftings, strict=True):
            wanted = _data_config(lifter, choice)
            if wanted not in loaded:
                kept = target.data_dir if wanted.name == lifter.config.data.name else None
                loaded[wanted] = _load(wanted, choice.data_dir or kept)
                _check_stride(loaded[wanted][1], choice)
            data, dataset = loaded[wanted]
            report = measure(lifter, dataset, choice.split, lifting)
            measured = SystemReport(
                system=target.system,
                checkpoint=named if is_model_uri(named) else str(lifter.checkpoint),
                fingerprint=lifter.fingerprint,
                data=data,
                split=choice.split,
                training=lifter.config,
                lifting=lifting,
                report=report,
                found=(*target.notes, *lifter.notes),
            )
            systems.append(measured)
    return Evaluation(named, choice.split, tuple(systems))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def ordinal(number: int) -> str:
    """A number's rank: `2nd`, `3rd`, `11th`."""
    endings = {1: "st", 2: "nd", 3: "rd"}
    teen = number // 10 % 10 == 1
    return f"{number}{'th' if teen else endings.get(number % 10, 'th')}"


def to_csv(evaluation: Evaluation) -> bytes:
    """All figures, one a line: system, table, row, metric, value (empty where undefined)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("system", "table", "row", "metric", "value"))
    for system in evaluation.systems:
        figures = system.report.to_json().pop("figures")
        for metric, value in figures.items():
            writer.writerow((system.system, "figures", "all", metric, _cell(value)))
        for table, rows in _tables(system.report):
            for row in rows:
                for metric, value in row.figures.items():
                    writer.writerow((system.system, table, row.name, metric, _cell(value)))
    return text.getvalue().encode()


def _tables(report: EvaluationReport) -> Iterator[tuple[str, Table]]:
    yield "overall", report.overall
    yield "by_action", report.by_action
    yield "by_sequence", report.by_sequence
    yield "by_joint", report.by_joint
    yield "by_segment", report.by_segment
    yield "by_limb_pair", report.by_limb_pair


def _cell(value: float | None) -> str:
    return "" if value is None or value != value else repr(value)


def _check_choice(choice: DataChoice) -> None:
    faults = []
    known = get_args(DatasetName)
    if choice.dataset is not None and choice.dataset not in known:
        faults.append(f"--dataset {choice.dataset!r} is unknown; known: {', '.join(known)}")
    if choice.split not in SPLITS:
        faults.append(f"--split {choice.split!r} is unknown; known: {', '.join(SPLITS)}")
    if faults:
        raise ConfigurationError.from_faults(faults)


def _data_config(lifter: Lifter, choice: DataChoice) -> DataConfig:
    """The data to measure on: as in the training, but for what the user chose."""
    trained_on = lifter.config.data
    name = choice.dataset or trained_on.name
    keypoints = choice.keypoints or (trained_on.keypoints if name == trained_on.name else "gt")
    stride = choice.stride
    if stride is None:
        stride = 1 if window_of(lifter.net).frames == 1 else trained_on.stride
    changes: dict[str, Any] = {"stride": stride, "content_hash": ""}
    if name != trained_on.name:
        known = DataConfig.model_fields
        changes |= {field: known[field].default for field in FIELDS_OF_DATA_SETS}
    fields = trained_on.model_dump() | changes | {"name": name, "keypoints": keypoints}
    try:
        return DataConfig.model_validate(fields)
    except ValidationError as error:
        raise ConfigurationError.from_faults(describe_faults(error, prefix="data.")) from error


def _load(wanted: DataConfig, data_dir: Path | None) -> tuple[DataConfig, PoseDataset]:
    dataset = load_dataset(wanted, data_dir, cache=data_cache())
    return wanted.model_copy(update={"content_hash": dataset.content_hash()}), dataset


def _check_stride(dataset: PoseDataset, choice: DataChoice) -> None:
    """Refuse a stride that leaves no two frames in a row, as if there had been no movement."""
    split = dataset.splits.get(choice.split)
    if choice.stride in (None, 1) or split is None or not len(split):
        return
    poses = np.unique(split.sequence, return_counts=True)[1]
    if poses.max() == 1:
        raise ConfigurationError(
            f"--stride {choice.stride} leaves one pose of each of the {len(poses)} sequences of "
            f"{choice.split}; give a smaller one"
        )
