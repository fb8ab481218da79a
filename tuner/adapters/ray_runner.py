"""Runs trials on Ray Tune; the study store, not Ray, knows what happened.

Each `run` is one fresh, disposable `tune.Tuner(...).fit()`. Ray's restore, its Optuna searcher,
its checkpoints and its loggers are not used: they keep a second truth beside the study store, and
the two drift apart when a driver is killed.
"""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ray
from ray import tune

from tuner.adapters.ray_bridge import TrialBridge
from tuner.adapters.ray_experiment import build_tuner, quiet_tune
from tuner.adapters.ray_placement import Placement, Slot
from tuner.adapters.ray_results import failure_reason, plain_text
from tuner.adapters.ray_session import RaySession
from tuner.adapters.ray_sharing import ClusterShare
from tuner.adapters.ray_signals import SignalGuard
from tuner.adapters.ray_tasks import metrics_of, result_of, wait_for
from tuner.adapters.ray_watch import ClusterWatch
from tuner.errors import ConfigurationError, RunInterruptedError, RunnerError
from tuner.ports import FeedState, OnMetrics, OnPretrainingEpoch, TrialFeed, TrialObserver
from tuner.records import TrialRequest, TrialSpec

__all__ = ["RayTuneRunner"]

logger = logging.getLogger(__name__)

_RESTARTS = 5
"""How often Tune may come down, with whatever it was that it did not expect, in one `run`."""


class RayTuneRunner:
    """A `tuner.ports.TrialRunner` on Ray Tune.

    Ray is started, or joined, when the first trial is to run.

    Args:
        trainable: A `tune.Trainable`; it reports what `tuner.adapters.ray_results` describes,
            keeps its own checkpoints, and has static `evaluate_checkpoint(config, checkpoint,
            split, dataset)`, which gives `metrics` and, for the user, `notes`,
            `pretrain(config, dataset)`, and `watch_pretraining(config)`, whose result gives
            `new_epochs()`.
        dataset: Handed to its `setup` as `dataset`, from Ray's object store; None for nothing.
        checkpoint_root: Folder of the trainables' checkpoints, shared by all nodes; a text is a
            URI that they know.
        pretraining_root: Where their pre-trainings lie, shared likewise; `checkpoint_root` where
            there is none.
        scratch: Folder for Ray's disposable experiments, shared by all nodes.
        max_concurrent: Trials at the same time; None for as many as fit. More than fit are asked
            of Ray, for an autoscaler to see.
        placement: What the trials of each stage hold, and which nodes may run them.
        max_failures: How often a trial whose worker raised or died is tried again; a lost node
            does not count.
        device: `auto`, `cpu` or `cuda`.
        interrupt_grace_s: How long running epochs may still take after SIGINT or SIGTERM, seconds;
            None for what `SignalGuard` thinks right.
        session: The connection to Ray; None to start it, or join it, as `auto` does.

    Raises:
        ConfigurationError: If a number makes no sense; all faults in one message.
    """

    def __init__(
        self,
        *,
        trainable: type[Any],
        dataset: object | None,
        checkpoint_root: Path | str,
        pretraining_root: Path | str | None = None,
        scratch: Path,
        max_concurrent: int | None = None,
        placement: Placement | None = None,
        max_failures: int = 2,
        device: str = "auto",
        interrupt_grace_s: float | None = None,
        session: RaySession | None = None,
    ) -> None:
        self._trainable = trainable
        self._dataset = dataset
        self._checkpoint_root = _everywhere(checkpoint_root)
        self._pretraining_root = _everywhere(pretraining_root or checkpoint_root)
        self._scratch = scratch.resolve()
        self._max_concurrent = max_concurrent
        self._placement = placement or Placement()
        self._max_failures = max_failures
        self._device = device
        self._interrupt_grace_s = interrupt_grace_s
        self._session = session or RaySession("auto")
        self._dataset_ref: Any = None
        self._prepared: Any = None
        self._memory_limit: int | None = None
        self._check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the data set in Ray's object store, and of Ray."""
        self._dataset_ref = self._prepared = None
        self._session.close()

    def run(self, feed: TrialFeed, observer: TrialObserver) -> None:
        """See `tuner.ports.TrialRunner`; an error of feed or observer is raised unchanged."""
        self._open()
        first = feed.next_request()
        if not isinstance(first, TrialRequest):
            if first is FeedState.WAIT:
                raise RunnerError("the feed waits for a trial to end, but none is running")
            return
        slot = self._placement.of(first.stage)
        with SignalGuard(grace_s=self._interrupt_grace_s) as guard:
            bridge = TrialBridge(
                _Begun(first, feed),
                observer,
                max_concurrent=1,  # the scheduler sets it in each round
                max_failures=self._max_failures,
                devices=slot.devices,
                interrupted=lambda: guard.received,
                grace_s=lambda: guard.grace_s,
            )
            bridge.memory_limit = self._memory_limit
            with self._watched(slot, bridge) as watch:
                failure = self._fit(bridge, slot, watch)
            self._memory_limit = bridge.memory_limit
            self._settle(bridge, guard, failure)

    def evaluate(
        self, jobs: Sequence[tuple[TrialSpec, str]], *, split: str, on_metrics: OnMetrics
    ) -> None:
        """See `tuner.ports.TrialRunner`.

        Raises:
            RunnerError: If a checkpoint cannot be evaluated; the message names it.
            RunInterruptedError: After SIGINT or SIGTERM.
        """
        if not jobs:
            return
        self._open()
        task, slot = self._task(self._trainable.evaluate_checkpoint), self._placement.slot
        failures: dict[int, RunnerError] = {}
        with SignalGuard() as guard:
            jobs_of = {
                task.remote(self._config(spec, slot), checkpoint, split, self._dataset_ref): index
                for index, (spec, checkpoint) in enumerate(jobs)
            }

            def take(future: Any) -> None:
                index = jobs_of[future]
                try:
                    metrics = metrics_of(future, jobs[index][1])
                except RunnerError as error:
                    failures[index] = error
                else:
                    on_metrics(index, metrics)

            wait_for(list(jobs_of), guard, "while evaluating; nothing is lost", done=take)
        if failures:
            raise failures[min(failures)]

    def pretrain(self, spec: TrialSpec, on_epoch: OnPretrainingEpoch) -> dict[str, Any]:
        """See `tuner.ports.TrialRunner`; a worker that dies is replaced, as for a trial."""
        self._open()
        config = self._config(spec, self._placement.slot)
        watch = self._trainable.watch_pretraining(config)

        def tell(*, earlier: bool = False) -> None:
            for epoch, figures in watch.new_epochs():
                on_epoch(epoch, figures, earlier=earlier)

        tell(earlier=True)

        task = self._task(self._trainable.pretrain)
        with SignalGuard() as guard:
            future = task.remote(config, self._dataset_ref)
            try:
                ending = "in the pre-training, which goes on from its last epoch"
                wait_for([future], guard, ending, meanwhile=tell)
                figures: dict[str, Any] = result_of(future, "the pre-training failed")
            finally:
                tell()
            return figures

    def _check(self) -> None:
        faults = []
        if self._max_concurrent is not None and self._max_concurrent < 1:
            faults.append(f"max_concurrent is {self._max_concurrent}; give 1 or more, or nothing")
        faults += self._placement.faults()
        if self._max_failures < 0:
            faults.append(f"max_failures is {self._max_failures}; give 0 or more")
        if self._device not in {"auto", "cpu", "cuda"}:
            faults.append(f"device is {self._device!r}; give auto, cpu or cuda")
        if faults:
            raise ConfigurationError.from_faults(faults)

    def _open(self) -> None:
        """Connect to Ray, see that every trial fits somewhere, share the data set."""
        self._session.open()
        self._session.check(self._placement)
        if self._prepared is None:
            self._prepared = self._trainable
            if self._dataset is not None:
                self._dataset_ref = ray.put(self._dataset)
                self._prepared = tune.with_parameters(self._trainable, dataset=self._dataset_ref)

    def _watched(self, slot: Slot, bridge: TrialBridge) -> ClusterWatch:
        return ClusterWatch(
            slot,
            dict(self._placement.labels),
            asked=self._max_concurrent,
            fits=self._session.fitting(slot, self._placement.labels),
            wanted=lambda: bridge.wanted,
            share=None if self._session.private else ClusterShare(str(self._scratch)),
        )

    def _placed(self, slot: Slot) -> Any:
        """The trainable, as a trial of that size runs it."""
        labels = self._placement.labels
        selector = {"bundle_label_selector": [dict(labels)]} if labels else {}
        group = tune.PlacementGroupFactory([slot.resources], **selector)
        return tune.with_resources(self._prepared, group)

    def _task(self, function: Any) -> Any:
        """A function of the trainable as a Ray task that holds what a trial does."""
        slot = self._placement.slot
        return ray.remote(
            num_cpus=slot.cpus,
            num_gpus=slot.gpus,
            label_selector=dict(self._placement.labels) or None,
            max_retries=self._max_failures,
        )(function)

    def _config(self, spec: TrialSpec, slot: Slot) -> dict[str, Any]:
        return {
            "training": spec.training_config(),
            "fingerprint": spec.fingerprint,
            "checkpoint_root": self._checkpoint_root,
            "pretraining_root": self._pretraining_root,
            "threads": slot.threads,
            "device": self._device,
        }

    def _request_config(self, request: TrialRequest, *, slot: Slot) -> dict[str, Any]:
        return {
            **self._config(request.spec, slot),
            "stage": request.stage,
            "trial": request.trial,
        }

    def _fit(self, bridge: TrialBridge, slot: Slot, watch: ClusterWatch) -> Exception | None:
        """Run experiments until all trials have ended; return what Tune raised in the last."""
        for _ in range(_RESTARTS):
            failure = self._fit_once(bridge, slot, watch)
            if failure is None or bridge.aborting:
                return failure
            logger.warning(
                "Ray Tune came down and is started anew, with %d trials that were running: %s",
                bridge.take_back(),
                failure_reason(plain_text(str(failure))),
            )
        return self._fit_once(bridge, slot, watch)

    def _fit_once(self, bridge: TrialBridge, slot: Slot, watch: ClusterWatch) -> Exception | None:
        """Run one experiment; return what Tune itself raised, if it did."""
        folder = self._scratch / f"ray-{uuid.uuid4().hex[:8]}"
        try:
            to_config = partial(self._request_config, slot=slot)
            with quiet_tune(watch.limit()):
                build_tuner(self._placed(slot), bridge, to_config, folder, watch).fit()
        except Exception as error:  # noqa: BLE001 - Tune raises anything; see `_settle`
            return error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return None

    def _settle(self, bridge: TrialBridge, guard: SignalGuard, failure: Exception | None) -> None:
        """See that every trial has an end, and raise what the caller has to know."""
        bridge.cancel_rest()
        if bridge.fault is not None:
            raise bridge.fault
        if guard.signal_number is not None:
            raise RunInterruptedError(
                guard.signal_number,
                f"interrupted by {guard.signal_name}: {bridge.cancelled} unfinished trials go on "
                "from their last epoch when the same command is given again",
            )
        if failure is not None:
            reason = failure_reason(plain_text(str(failure)))
            raise RunnerError(f"Ray Tune failed: {reason}") from failure
        if bridge.cancelled:
            raise RunnerError(f"Ray Tune came to an end with {bridge.cancelled} trials unfinished")


@dataclass
class _Begun:
    """A feed whose first request was taken already."""

    first: TrialRequest | None
    rest: TrialFeed

    def next_request(self) -> TrialRequest | FeedState:
        """See `TrialFeed`."""
        if self.first is None:
            return self.rest.next_request()
        request, self.first = self.first, None
        return request


def _everywhere(root: Path | str) -> str:
    """The name by which a worker, wherever its process stands, finds a folder or a URI."""
    return root if isinstance(root, str) else str(root.resolve())
