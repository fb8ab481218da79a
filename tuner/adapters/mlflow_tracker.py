"""The tracker that shows runs in MLflow, through an outbox."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.adapters.mlflow_projection import MlflowProjection
from tuner.adapters.outbox import Outbox
from tuner.adapters.outbox_delivery import Delivery
from tuner.adapters.redact import redact_url
from tuner.adapters.tracker_events import Event, EventTracker
from tuner.errors import TrackingError

__all__ = ["MlflowTracker"]


class MlflowTracker(EventTracker):
    """Implements `tuner.ports.Tracker` on MLflow.

    Every call appends to the outbox and returns; a thread delivers. MLflow itself is imported in
    that thread. Tags carry the prefix `tuner.`; `tuner.key` is `<run>`, `<run>/<stage>/<trial>`
    or `<run>/<stage>/` (a stage's summary). If `RunInfo.tags` has a `uid`, a run of the same name
    with another uid is not taken for ours.

    Args:
        tracking_uri: `sqlite:///…/mlflow.db`, another database URL, or a server's address.
        experiment: Name of the experiment.
        outbox_path: File of the outbox, in the run's folder.
        artifact_root: Folder or URI for the files of a new experiment. None: beside the
            database file, or as the server decides.
        run_folder: The run's folder; relative artifact paths start there.
        linger_s: How long to gather events into one request.

    Raises:
        TrackingError: If the outbox cannot be opened, or `tracking_uri` is a plain folder, which
            MLflow 3 no longer writes to.
    """

    def __init__(
        self,
        *,
        tracking_uri: str,
        experiment: str,
        outbox_path: Path,
        artifact_root: str | None,
        run_folder: Path,
        linger_s: float = 1.0,
    ) -> None:
        if tracking_uri.startswith("file:") or "://" not in tracking_uri:
            raise TrackingError(
                f"the tracking URI {redact_url(tracking_uri)!r} is a plain folder, which MLflow 3 "
                "does not write to; give sqlite:////absolute/path/mlflow.db, or a server's "
                "address such as http://127.0.0.1:5000"
            )
        try:
            self._outbox = Outbox(outbox_path)
        except (OSError, sqlite3.Error) as error:
            message = f"cannot write the tracking queue {outbox_path}: {error}"
            raise TrackingError(message) from error
        super().__init__(self._outbox.facts())
        self._run_folder = run_folder
        self._tracking_uri = tracking_uri
        self._experiment = experiment
        self._artifact_root = artifact_root or _beside_database(tracking_uri)
        self._closed = False
        self._final_ids: dict[str, str] = {}
        self._delivery = Delivery(
            self._outbox,
            self._make_projection,
            destination=f"MLflow at {redact_url(tracking_uri)}",
            linger_s=linger_s,
        )
        if self._outbox.pending():
            self._delivery.start()
            self._delivery.notify()

    def log_artifact(self, path: str, *, folder: str = "") -> None:
        """Attach a file of the run's folder to the run; a later version replaces it."""
        super().log_artifact(str(self._run_folder / path), folder=folder)

    def register_model(
        self,
        *,
        model_name: str,
        checkpoint_path: str,
        training_config: Mapping[str, Any],
        metrics: Mapping[str, float],
        fingerprint: str,
        comparable: str,
        skeleton: str | Mapping[str, Any],
        example_x: list[list[list[float]]],
    ) -> None:
        """Register the winner once the server is there; see `mlflow_models.register_winner`.

        Args:
            model_name: As `tuner.wiring.model_name` gives it.
            checkpoint_path: File or URI of the best weights; it must stay where it is.
            training_config: What `trainables.config.TrainingConfig` reads.
            metrics: The winner's figures, `val_mpjpe_mm` among them.
            fingerprint: Of the winner's TrialSpec.
            comparable: What the figures were measured on; empty not to compete for `champion`.
            skeleton: As `trainables.skeletons.description.skeleton_reference` gives it.
            example_x: A few normalised 2D poses, (N, J, 2).
        """
        self._emit(
            "model",
            model_name=model_name,
            checkpoint_path=checkpoint_path
            if "://" in checkpoint_path
            else str(self._run_folder / checkpoint_path),
            training_config=dict(training_config),
            metrics=dict(metrics),
            fingerprint=fingerprint,
            comparable=comparable,
            skeleton=skeleton,
            example_x=example_x,
        )

    def run_ids(self) -> Mapping[tuple[str, int | None], str]:
        """Tracking ids known so far: (stage, trial), (stage, None), and ("", None) the run."""
        known = self._final_ids if self._closed else self._outbox.run_ids()
        ids: dict[tuple[str, int | None], str] = {}
        for key, run_id in known.items():
            stage, _, trial = key.rpartition("/")
            ids[stage, int(trial) if trial else None] = run_id
        return ids

    def pending(self) -> int:
        """Number of events that are not delivered."""
        return self._outbox.pending()

    def close(self, *, timeout_s: float) -> int:
        """Deliver what is pending, at most this long; return how many events remain spooled."""
        if self._closed:
            return 0
        ended = self._delivery.close(timeout_s=timeout_s)
        self._final_ids = self._outbox.run_ids()
        self._closed = True
        left = self._outbox.pending()
        if ended:
            self._outbox.close()
        return left

    def _append(self, event: Event, facts: Mapping[str, str]) -> None:
        if self._closed:
            raise TrackingError("the tracker has been closed")
        self._outbox.append(event, facts)
        self._delivery.start()
        self._delivery.notify()

    def _make_projection(self) -> MlflowProjection:
        return MlflowProjection(
            tracking_uri=self._tracking_uri,
            experiment=self._experiment,
            artifact_root=self._artifact_root,
            outbox=self._outbox,
            register_model=self._register,
        )

    def _register(self, parent_run_id: str, event: Event) -> None:
        from tuner.adapters.mlflow_models import register_from_event

        register_from_event(event, tracking_uri=self._tracking_uri, parent_run_id=parent_run_id)


def _beside_database(tracking_uri: str) -> str | None:
    if not tracking_uri.startswith("sqlite:///"):
        return None
    return str(Path(tracking_uri.removeprefix("sqlite:///")).resolve().parent / "mlflow-artifacts")
