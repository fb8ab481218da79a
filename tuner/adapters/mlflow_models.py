"""The winner as a registered model with signature and example, and the alias `champion`."""

from __future__ import annotations

import importlib.metadata
import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.adapters.mlflow_session import (
    connect,
    describe,
    import_mlflow,
    is_permanent,
    is_unknown_resource,
)
from tuner.adapters.outbox_delivery import RejectedEventError
from tuner.adapters.pose_lifter_package import code_folder, extract_weights
from tuner.adapters.tracker_events import Event
from tuner.errors import TrackingError
from tuner.records import MeasuredOn

__all__ = ["CHAMPION", "ModelVersionInfo", "register_from_event", "register_winner"]

CHAMPION = "champion"
SELECTION_METRIC = "val_mpjpe_mm"
COMPARABLE = "tuner.comparable"
_MODEL_CODE = Path(__file__).with_name("pose_lifter_model.py")
_REQUIREMENTS = ("mlflow", "numpy", "pydantic", "torch")


@dataclass(frozen=True)
class ModelVersionInfo:
    """A registered version.

    Attributes:
        name: Name of the registered model.
        version: Its version, from 1.
        uri: Where `mlflow.pyfunc.load_model` finds it.
        champion: Whether it bears the alias `champion`.
        val_mpjpe_mm: What it was judged by, millimetres, lower is better.
        created: Whether this call made it; False if the training was registered before.
    """

    name: str
    version: int
    uri: str
    champion: bool
    val_mpjpe_mm: float
    created: bool


def register_winner(
    *,
    tracking_uri: str,
    parent_run_id: str,
    model_name: str,
    checkpoint_path: str,
    training_config: Mapping[str, Any],
    metrics: Mapping[str, float],
    fingerprint: str,
    example_x: NDArray[np.float32],
    comparable: str,
    skeleton: str | Mapping[str, Any],
) -> ModelVersionInfo:
    """Log the winner's pose-net as a model, register it, and make it champion if it is best.

    A training (by fingerprint) is registered once: a second call returns the version there is.
    The champion is judged by `val_mpjpe_mm` alone, never by test. A tie keeps the present one,
    and so does a figure of other data; one of fewer poses of the same data gives way to one of
    more, whatever they are.

    Args:
        tracking_uri: The MLflow server or database.
        parent_run_id: The run that the model belongs to.
        model_name: As `tuner.wiring.model_name` gives it.
        checkpoint_path: File or URI of the best weights, as the trainer wrote them.
        training_config: What `trainables.config.TrainingConfig` reads.
        metrics: The winner's figures; `val_mpjpe_mm` must be among them, finite.
        fingerprint: Of the winner's TrialSpec.
        example_x: A few normalised 2D poses, (N, J, 2), float32.
        comparable: What the figure was measured on (`MeasuredOn.to_text`); empty if it must not
            compete (selected on the test split).
        skeleton: As `trainables.skeletons.description.skeleton_reference` gives it.

    Raises:
        TrackingError: If the checkpoint is missing, or there is no finite `val_mpjpe_mm`.
    """
    value = float(metrics.get(SELECTION_METRIC, math.nan))
    if not math.isfinite(value):
        found = ", ".join(sorted(metrics)) or "none"
        raise TrackingError(f"{model_name}: needs a finite {SELECTION_METRIC}, found {found}")
    if "://" not in checkpoint_path and not Path(checkpoint_path).exists():
        raise TrackingError(f"{model_name}: the checkpoint {checkpoint_path} does not exist")
    client = connect(tracking_uri)
    _ensure_model(client, model_name)
    version = _find_version(client, model_name, fingerprint)
    created = version is None
    if version is None:
        with tempfile.TemporaryDirectory() as folder:
            facts = {"training_config": dict(training_config), "skeleton": skeleton}
            config_path = Path(folder) / "training_config.json"
            config_path.write_text(json.dumps(facts, indent=2), encoding="utf-8")
            weights = extract_weights(checkpoint_path, Path(folder))
            artifacts = {"checkpoint": str(weights), "config": str(config_path)}
            source, model_id = _log_model(
                client, parent_run_id, model_name, artifacts, example_x, Path(folder) / "model"
            )
        tags = {"tuner.fingerprint": fingerprint, SELECTION_METRIC: repr(value)}
        tags[COMPARABLE] = comparable
        tags |= {f"metric.{n}": repr(float(v)) for n, v in metrics.items() if math.isfinite(v)}
        version = client.create_model_version(
            model_name, source, run_id=parent_run_id, tags=tags, model_id=model_id
        )
    champion = _crown(client, model_name, str(version.version), value, comparable)
    number = int(version.version)
    uri = f"models:/{model_name}/{number}"
    return ModelVersionInfo(model_name, number, uri, champion, value, created)


def register_from_event(event: Event, *, tracking_uri: str, parent_run_id: str) -> None:
    """Register what a `model` event describes.

    Raises:
        RejectedEventError: If that can never succeed (a missing checkpoint, say).
    """
    outages = (OSError, import_mlflow().exceptions.MlflowException)
    try:
        register_winner(
            tracking_uri=tracking_uri,
            parent_run_id=parent_run_id,
            model_name=event["model_name"],
            checkpoint_path=event["checkpoint_path"],
            training_config=event["training_config"],
            metrics=event["metrics"],
            fingerprint=event["fingerprint"],
            comparable=event["comparable"],
            skeleton=event["skeleton"],
            example_x=np.asarray(event["example_x"], dtype=np.float32),
        )
    except outages as error:
        if is_permanent(error):
            raise RejectedEventError(describe(error)) from error
        raise
    except Exception as error:
        # The model itself is at fault (weights, configuration): trying again will not help.
        raise RejectedEventError(f"{type(error).__name__}: {describe(error)}") from error


def _log_model(
    client: Any,
    run_id: str,
    name: str,
    artifacts: Mapping[str, str],
    example_x: NDArray[np.float32],
    folder: Path,
) -> tuple[str, str]:
    """Log the model to a run without touching MLflow's global state; give its location and id."""
    import mlflow.pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    run = client.get_run(run_id)
    logged = client.create_logged_model(
        run.info.experiment_id, name=name, source_run_id=run_id, model_type="pose-lifter"
    )
    mlflow.pyfunc.save_model(
        path=str(folder),
        python_model=str(_MODEL_CODE),
        artifacts=dict(artifacts),
        code_paths=[str(code_folder())],
        signature=_signature(example_x.shape[1]),
        input_example=example_x,
        pip_requirements=_pip_requirements(),
        mlflow_model=Model(
            artifact_path=logged.artifact_location,
            run_id=run_id,
            model_uuid=logged.model_id,
            model_id=logged.model_id,
        ),
    )
    client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    # By location: a `models:/` source is looked up through MLflow's global tracking URI.
    return str(logged.artifact_location), str(logged.model_id)


def _signature(num_joints: int) -> Any:
    """Signature: (N, J, 2) normalised 2D to (N, J, 3) metres."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Schema, TensorSpec

    dtype = np.dtype("float32")
    return ModelSignature(
        inputs=Schema([TensorSpec(dtype, (-1, num_joints, 2))]),
        outputs=Schema([TensorSpec(dtype, (-1, num_joints, 3))]),
    )


def _pip_requirements() -> list[str]:
    versions = {name: importlib.metadata.version(name) for name in _REQUIREMENTS}
    return [f"{name}=={version.split('+')[0]}" for name, version in versions.items()]


def _ensure_model(client: Any, name: str) -> None:
    try:
        client.get_registered_model(name)
    except Exception as error:
        if not is_unknown_resource(error):
            raise
        client.create_registered_model(
            name, description="2D-to-3D pose lifting: (N, J, 2) normalised to (N, J, 3) metres"
        )


def _find_version(client: Any, name: str, fingerprint: str) -> Any:
    condition = f"name = '{name}' AND tags.`tuner.fingerprint` = '{fingerprint}'"
    versions = client.search_model_versions(condition)
    return min(versions, key=lambda version: int(version.version)) if versions else None


def _crown(client: Any, name: str, version: str, value: float, comparable: str) -> bool:
    """Give the alias to a version that beats its present holder; return whether it has it."""
    holder = client.get_registered_model(name).aliases.get(CHAMPION)
    if str(holder) == version:
        return True
    if not comparable or (holder and not _is_beaten(client, name, holder, value, comparable)):
        return False
    client.set_registered_model_alias(name, CHAMPION, version)
    return True


def _is_beaten(client: Any, name: str, holder: str, value: float, comparable: str) -> bool:
    """Whether a figure is better, or of more poses; a holder that has none is always beaten."""
    tags = client.get_model_version(name, holder).tags
    if SELECTION_METRIC not in tags:
        return True
    try:
        held = MeasuredOn.from_text(tags.get(COMPARABLE, ""))
    except ValueError:
        return False  # chosen on test, and crowned by hand
    ours = MeasuredOn.from_text(comparable)
    if ours == held:
        return float(tags[SELECTION_METRIC]) > value
    return ours.is_fuller_than(held)
