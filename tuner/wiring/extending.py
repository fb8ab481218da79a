"""More trials for a stage of a run that exists: `tuner runs extend` and `tuner runs refine`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tuner.errors import ConfigurationError
from tuner.ports import StudyStore
from tuner.protocol.actions import Finished
from tuner.protocol.extensions import extensions, new_extension
from tuner.protocol.generations import (
    EXTENSIONS,
    current_studies,
    is_closed,
    search_studies,
    stage_key,
    stage_name,
)
from tuner.protocol.greedy import next_action
from tuner.protocol.stages import Protocol
from tuner.records import StudyHistory, TrialState
from tuner.wiring.stores import load_studies

__all__ = ["ExtensionRequest", "check_extension", "check_through", "write_extension"]


@dataclass(frozen=True)
class ExtensionRequest:
    """What was asked for.

    Attributes:
        run: Name of the run.
        stage: The stage's name, or its key in the search space.
        trials: Trials to add, at least 1.
        factor: Size of the window around the stage's winner, above 1; None for the whole space.
    """

    run: str
    stage: str
    trials: int
    factor: float | None = None


def check_extension(store: StudyStore, request: ExtensionRequest) -> StudyHistory:
    """The study that is to be extended.

    Raises:
        ConfigurationError: If there is no such run or stage, or the stage cannot be extended now.
        StoreError: If the store failed.
    """
    _check_amounts(request)
    studies = load_studies(store, request.run)
    study = _find(request, studies)
    _check_closed(request, study, studies)
    ranges = study.spec.distributions
    if all(item["low"] == item["high"] for item in ranges.values()):
        raise ConfigurationError(
            f"--stage {request.stage}: stage {study.spec.stage} has one point only "
            f"({', '.join(ranges)}), which is trained; start another run with a wider --space"
        )
    return study


def check_through(
    protocol: Protocol, history: Mapping[str, StudyHistory], *, reported: bool
) -> None:
    """See that nothing is left to do of a run, so that a repeated command adds nothing twice.

    Args:
        protocol: The stages of the run.
        history: What the study store holds for them.
        reported: Whether its report is written.

    Raises:
        ConfigurationError: If something is left to do.
    """
    action = next_action(protocol, history)
    finished = isinstance(action, Finished)
    if finished and reported:
        return
    left = "its report is still to be written" if finished else action.reason
    raise ConfigurationError(
        f"run {protocol.run!r} is not through yet ({left}); "
        f"go on with it first: tuner runs resume {protocol.run}"
    )


def write_extension(store: StudyStore, request: ExtensionRequest) -> None:
    """Open the stage again, in one write; nobody else may be driving the run.

    Raises:
        ConfigurationError: As `check_extension`.
        StoreError: If the store failed.
    """
    study = check_extension(store, request)
    added = new_extension(study, trials=request.trials, factor=request.factor)
    entries = [entry.to_json() for entry in (*extensions(study), added)]
    store.annotate(study.spec.study_name, EXTENSIONS, entries)


def _check_amounts(request: ExtensionRequest) -> None:
    faults = []
    if request.trials < 1:
        faults.append(f"--trials {request.trials}: found no number of at least 1")
    if request.factor is not None and not request.factor > 1:
        faults.append(f"--factor {request.factor:g}: a window needs a factor above 1")
    if faults:
        raise ConfigurationError.from_faults(faults)


def _find(request: ExtensionRequest, studies: Mapping[str, StudyHistory]) -> StudyHistory:
    names = list(search_studies({stage_name(label): study for label, study in studies.items()}))
    current = current_studies(studies)
    for name in names:
        if request.stage in (name, stage_key(name)):
            if name not in current:
                break
            return current[name]
    else:
        known = ", ".join(stage_key(name) for name in names)
        raise ConfigurationError(
            f"--stage {request.stage!r}: run {request.run!r} has no such stage that could be "
            f"extended; it has {known}"
        )
    raise _not_closed(request, request.stage)


def _check_closed(
    request: ExtensionRequest, study: StudyHistory, studies: Mapping[str, StudyHistory]
) -> None:
    if not is_closed(study):
        raise _not_closed(request, study.spec.stage)
    # a later stage's trials could be left running for ever, if its study was given up for another
    for label, other in studies.items():
        if any(trial.state is TrialState.RUNNING for trial in other.trials):
            raise _not_closed(request, label)


def _not_closed(request: ExtensionRequest, label: str) -> ConfigurationError:
    return ConfigurationError(
        f"--stage {request.stage}: run {request.run!r} is not through with stage {label} yet; "
        f"go on with it first: tuner runs resume {request.run}"
    )
