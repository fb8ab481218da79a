"""Measures what a user names on a data set, the one of its training or another."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from trainables.config import DataConfig, DatasetName
from trainables.data.dataset import PoseDataset
from trainables.data.loading import load_dataset
from trainables.metrics.report import EvaluationReport, Table
from tuner.errors import ConfigurationError
from tuner.settings import Locations
from tuner.wiring.lifter import Lifter, device_named, load_lifter, measure
from tuner.wiring.targets import Target, find_targets

__all__ = ["SPLITS", "DataChoice", "Evaluation", "SystemReport", "evaluate_named", "to_csv"]

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class DataChoice:
    """Which data to measure on.

    Attributes:
        dataset: Name of the data set; None for that of the training.
        data_dir: Folder of its files; None for where the training had them.
        keypoints: 2D key points; None for those of the training, `gt` on another data set.
        split: `train`, `val` or `test`.
    """

    dataset: str | None = None
    data_dir: Path | None = None
    keypoints: str | None = None
    split: str = "test"


@dataclass(frozen=True)
class SystemReport:
    """How one net did.

    Attributes:
        system: `model`, or of a search `seal` and `baseline`.
        checkpoint: Where its weights were read.
        fingerprint: Of its training.
        data: The data that it was measured on.
        trained_on: The data that it was trained on.
        report: Figures and tables.
    """

    system: str
    checkpoint: str
    fingerprint: str
    data: DataConfig
    trained_on: DataConfig
    report: EvaluationReport

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the figures has to know."""
        if self.data.name != self.trained_on.name:
            return (f"{self.system}: trained on {self.trained_on.name}, not on {self.data.name}",)
        same = self.data.keypoints == self.trained_on.keypoints
        if same and self.trained_on.content_hash not in ("", self.data.content_hash):
            return (f"{self.system}: the data are not those of its training: they have changed",)
        return ()

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "system": self.system,
            "checkpoint": self.checkpoint,
            "fingerprint": self.fingerprint,
            "dataset": self.data.name,
            "keypoints": self.data.keypoints,
            "stride": self.data.stride,
            "content_hash": self.data.content_hash,
            "trained_on": self.trained_on.name,
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
    named: str, locations: Locations, choice: DataChoice, *, device: str = "auto"
) -> Evaluation:
    """Measure a checkpoint, a training, a search's winners or a model.

    Args:
        named: As `find_targets` takes it.
        locations: Where trainings, searches and models are.
        choice: Which data to measure on.
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
        loaded: dict[DataConfig, tuple[DataConfig, PoseDataset]] = {}
        systems = []
        for target, lifter in zip(targets, lifters, strict=True):
            wanted = _data_config(lifter.config.data, choice)
            if wanted not in loaded:
                kept = target.data_dir if wanted.name == lifter.config.data.name else None
                loaded[wanted] = _load(wanted, choice.data_dir or kept)
            data, dataset = loaded[wanted]
            report = measure(lifter, dataset, choice.split)
            systems.append(_system_report(named, target, lifter, data, report))
    return Evaluation(named, choice.split, tuple(systems))


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


def _data_config(trained_on: DataConfig, choice: DataChoice) -> DataConfig:
    """The data to measure on: as in the training, but for what the user chose."""
    if choice.dataset not in (None, trained_on.name):
        keypoints = choice.keypoints or "gt"
        return DataConfig.model_validate({"name": choice.dataset, "keypoints": keypoints})
    keypoints = choice.keypoints or trained_on.keypoints
    return trained_on.model_copy(update={"content_hash": "", "keypoints": keypoints})


def _load(wanted: DataConfig, data_dir: Path | None) -> tuple[DataConfig, PoseDataset]:
    dataset = load_dataset(wanted, data_dir)
    return wanted.model_copy(update={"content_hash": dataset.content_hash()}), dataset


def _system_report(
    named: str, target: Target, lifter: Lifter, data: DataConfig, report: EvaluationReport
) -> SystemReport:
    fetched = "://" in named or named.startswith(("models:/", "runs:/"))
    return SystemReport(
        system=target.system,
        checkpoint=named if fetched else str(lifter.checkpoint),
        fingerprint=lifter.fingerprint,
        data=data,
        trained_on=lifter.config.data,
        report=report,
    )
