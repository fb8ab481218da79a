"""Whether a run's report says all that the store holds."""

from __future__ import annotations

from collections.abc import Mapping

from tuner.protocol.confirm import CANDIDATES
from tuner.protocol.generations import EXTENSIONS
from tuner.records import StudyHistory, digest

__all__ = ["report_digest"]


def report_digest(histories: Mapping[str, StudyHistory]) -> str:
    """Of everything that a report is made from and that more work on the run can change.

    Args:
        histories: The studies that count, by name of stage.
    """
    return digest({name: _contents(study) for name, study in histories.items()})


def _contents(study: StudyHistory) -> dict[str, object]:
    return {
        "study": study.spec.study_name,
        "result": None if study.result is None else study.result.to_json(),
        "trials": [
            [trial.state.value, trial.value, None if not trial.test_metrics else True]
            for trial in study.trials
        ],
        CANDIDATES: study.attributes.get(CANDIDATES),
        EXTENSIONS: study.attributes.get(EXTENSIONS),
    }
