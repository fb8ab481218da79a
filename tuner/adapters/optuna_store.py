"""The study store on Optuna: one study per stage, one writer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from tuner.adapters.optuna_database import FlatDatabase, Guard
from tuner.adapters.optuna_journal import LockedJournalBackend
from tuner.adapters.optuna_records import (
    IMPORTED_FROM,
    OUTCOME,
    RESERVED,
    added_fields,
    differences,
    outcome_to_json,
    plain_json,
    same_result,
    study_from_json,
    study_to_json,
    to_distributions,
    to_optuna_state,
    to_record,
    trial_attributes,
)
from tuner.adapters.optuna_storage import open_storage, store_errors
from tuner.adapters.redact import redact_url
from tuner.errors import DefinitionMismatchError, StoreError
from tuner.records import (
    EpochReport,
    OutcomeKind,
    StageResult,
    StudyHistory,
    StudySpec,
    TrialOutcome,
    TrialRecord,
    TrialSpec,
    TrialState,
)

__all__ = ["OptunaStudyStore", "open_study_store"]

DEFINITION = "tuner"
"""Study attribute with the definition; a study without it is not ours."""

RESULT = "result"
NOTE = "note:"
"""Prefix of study attributes that hold facts about the study (`note:KEY`)."""

TRIAL_NOTE = "trial:"
"""Prefix of study attributes about an ended trial (`trial:NUMBER:KEY`): Optuna does not let an
ended trial be changed."""


def open_study_store(url: str) -> OptunaStudyStore:
    """Open the study store at a URL; see `open_storage`.

    Raises:
        StoreError: If it cannot be opened.
    """
    return OptunaStudyStore(open_storage(url), location=redact_url(url))


class OptunaStudyStore:
    """`StudyStore` on an Optuna storage.

    It calls the storage itself rather than `optuna.Study`, whose `ask` records a trial before
    its parameters, and whose `tell` samples and logs. A trial's configuration goes in with the
    trial, in one write; its outcome is one attribute, written before Optuna's state: a process
    killed in between leaves a trial that ended for us, and `open_study` closes it for Optuna.

    Args:
        storage: Where the studies are.
        location: Its name in messages, without a password.
    """

    def __init__(self, storage: BaseStorage, *, location: str = "in memory") -> None:
        self._storage = storage
        self._location = location
        self._specs: dict[int, StudySpec] = {}
        self._imported: dict[int, dict[str, int]] = {}
        self._ended: dict[int, dict[int, tuple[FrozenTrial, Mapping[str, Any], TrialRecord]]] = {}

    def guard_writes(self, guard: Guard) -> None:
        """Have what is written happen under a guard that refuses by raising.

        A journal guards each write, a database the creation of trials: a write to a trial that is
        there can be repeated by anyone, since its result is the same.
        """
        backend = getattr(self._storage, "_backend", None)  # of Optuna's cache, or of its journal
        if isinstance(backend, (FlatDatabase, LockedJournalBackend)):
            backend.guard = guard

    def open_study(self, spec: StudySpec) -> None:
        """See `StudyStore`."""
        given = study_to_json(spec)
        with store_errors(self._location):
            study = self._find(spec.study_name)
            if study is None:
                directions = [StudyDirection.MINIMIZE]
                study = self._storage.create_new_study(directions, spec.study_name)
            kept = self._storage.get_study_user_attrs(study).get(DEFINITION)
            trials = self._storage.get_all_trials(study, deepcopy=False)
            if kept is None and not trials:
                # new, or its creator was killed before this line
                self._storage.set_study_user_attr(study, DEFINITION, given)
                return
            self._check_definition(spec.study_name, study, kept, given)
            for trial in trials:
                if trial.state is OptunaState.RUNNING and OUTCOME in trial.user_attrs:
                    self._end(trial, trial.user_attrs[OUTCOME])

    def history(self, study_name: str) -> StudyHistory | None:
        """See `StudyStore`."""
        with store_errors(self._location):
            study = self._find(study_name)
            if study is None:
                return None
            attributes = self._storage.get_study_user_attrs(study)
            if DEFINITION not in attributes:
                return None
            trials = self._storage.get_all_trials(study, deepcopy=False)
        notes = _trial_notes(attributes)
        result = attributes.get(NOTE + RESULT)
        return StudyHistory(
            spec=study_from_json(attributes[DEFINITION]),
            trials=tuple(
                self._record(study_name, study, trial, notes.get(trial.number, {}))
                for trial in trials
            ),
            result=None if result is None else StageResult.from_json(result),
            attributes={
                key.removeprefix(NOTE): value
                for key, value in attributes.items()
                if key.startswith(NOTE) and key != NOTE + RESULT
            },
        )

    def ask(self, study_name: str, spec: TrialSpec) -> int:
        """See `StudyStore`."""
        return self._create(study_name, spec, state=OptunaState.RUNNING, attributes={})

    def import_finished(self, study_name: str, trial: TrialRecord, source: str) -> int:
        """See `StudyStore`."""
        outcome = trial.outcome
        if trial.state is not TrialState.FINISHED or outcome is None or outcome.value is None:
            raise StoreError(f"{source} has not finished with a value; it cannot be carried over")
        with store_errors(self._location):
            study = self._study(study_name)
            imported = self._imports(study)
        if source in imported:
            return imported[source]
        try:
            imported[source] = self._create(
                study_name,
                trial.spec,
                state=OptunaState.COMPLETE,
                value=outcome.value,
                attributes={IMPORTED_FROM: source, OUTCOME: outcome_to_json(outcome)},
                curve=trial.curve,
            )
        except StoreError:
            # it may be there all the same
            del self._imported[study]
            raise
        return imported[source]

    def report(self, study_name: str, report: EpochReport, *, value: float) -> None:
        """See `StudyStore`."""
        if not math.isfinite(value):
            raise StoreError(f"epoch {report.epoch} of trial {report.trial} has value {value!r}")
        with store_errors(self._location):
            trial = self._trial(study_name, report.trial)
            if report.epoch in trial.intermediate_values:
                return
            if OUTCOME in trial.user_attrs:
                raise StoreError(
                    f"trial {report.trial} of {study_name} has ended; it cannot report epoch "
                    f"{report.epoch}: is a second driver running under this name?"
                )
            self._storage.set_trial_intermediate_value(trial._trial_id, report.epoch, float(value))

    def tell(self, study_name: str, outcome: TrialOutcome) -> None:
        """See `StudyStore`."""
        if outcome.kind is OutcomeKind.CANCELLED:
            return
        given = outcome_to_json(outcome)
        if outcome.kind is OutcomeKind.COMPLETED and given["value"] is None:
            raise StoreError(
                f"trial {outcome.trial} of {study_name} cannot be completed with value "
                f"{outcome.value!r}: a finite number is needed"
            )
        with store_errors(self._location):
            trial = self._trial(study_name, outcome.trial)
            kept = trial.user_attrs.get(OUTCOME)
            if kept is None:
                self._storage.set_trial_user_attr(trial._trial_id, OUTCOME, given)
            elif not same_result(kept, given):
                lines = "; ".join(differences(kept, given))
                raise StoreError(
                    f"trial {outcome.trial} of {study_name} has already ended with another "
                    f"result ({lines}): is a second driver running under this name?"
                )
            self._end(trial, kept or given)

    def annotate(
        self, study_name: str, key: str, value: object, *, trial: int | None = None
    ) -> None:
        """See `StudyStore`."""
        plain = plain_json(value, what=f"{key} of {study_name}")
        with store_errors(self._location):
            study = self._study(study_name)
            if trial is None:
                self._storage.set_study_user_attr(study, NOTE + key, plain)
                return
            if key in RESERVED:
                raise StoreError(f"the trial attribute {key} is written by the store alone")
            found = self._trial(study_name, trial)
            try:
                self._storage.set_trial_user_attr(found._trial_id, key, plain)
            except UpdateFinishedTrialError:
                self._storage.set_study_user_attr(study, f"{TRIAL_NOTE}{trial}:{key}", plain)

    def studies(self) -> tuple[str, ...]:
        """See `StudyStore`."""
        with store_errors(self._location):
            found = self._storage.get_all_studies()
        return tuple(sorted(item.study_name for item in found if DEFINITION in item.user_attrs))

    def _find(self, study_name: str) -> int | None:
        try:
            return self._storage.get_study_id_from_name(study_name)
        except KeyError:
            return None

    def _study(self, study_name: str) -> int:
        study = self._find(study_name)
        if study is None:
            raise StoreError(f"there is no study {study_name} in the study store {self._location}")
        return study

    def _trial(self, study_name: str, number: int) -> FrozenTrial:
        study = self._study(study_name)
        try:
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(study, number)
        except KeyError as error:
            raise StoreError(f"study {study_name} has no trial {number}") from error
        return self._storage.get_trial(trial_id)

    def _spec(self, study_name: str, study: int) -> StudySpec:
        """A study's definition, read once: it never changes, and its attributes grow."""
        if study not in self._specs:
            definition = self._storage.get_study_user_attrs(study).get(DEFINITION)
            if definition is None:
                raise StoreError(f"study {study_name} was not opened by the tuner")
            self._specs[study] = study_from_json(definition)
        return self._specs[study]

    def _imports(self, study: int) -> dict[str, int]:
        """Numbers of the imported trials by their source; read once, since we alone write."""
        if study not in self._imported:
            trials = self._storage.get_all_trials(study, deepcopy=False)
            sources = ((t.user_attrs.get(IMPORTED_FROM), t.number) for t in reversed(trials))
            self._imported[study] = {source: number for source, number in sources if source}
        return self._imported[study]

    def _record(
        self, study_name: str, study: int, trial: FrozenTrial, notes: Mapping[str, Any]
    ) -> TrialRecord:
        """A trial's record; that of an ended one is kept, since only its notes can change."""
        kept = self._ended.setdefault(study, {}).get(trial.number)
        if kept is not None and kept[0] is trial and kept[1] == notes:
            return kept[2]
        record = to_record(study_name, trial, notes)
        if trial.state.is_finished():
            self._ended[study][trial.number] = (trial, notes, record)
        return record

    def _create(
        self,
        study_name: str,
        spec: TrialSpec,
        *,
        state: OptunaState,
        attributes: Mapping[str, Any],
        value: float | None = None,
        curve: Sequence[tuple[int, float]] = (),
    ) -> int:
        """Record a trial with all that is known of it, in one write; return its number."""
        with store_errors(self._location):
            study = self._study(study_name)
            study_spec = self._spec(study_name, study)
            distributions = to_distributions(study_spec)
            try:
                template = create_trial(
                    state=state,
                    value=value,
                    params={name: float(spec.params[name]) for name in distributions},
                    distributions=distributions,
                    user_attrs={**trial_attributes(study_spec.stage, spec), **attributes},
                    intermediate_values=dict(curve),
                )
            except KeyError as error:
                raise StoreError(f"the trial gives no value for {error.args[0]}") from error
            except ValueError as error:
                raise StoreError(f"the trial is outside {study_name}'s space: {error}") from error
            trial_id = self._storage.create_new_trial(study, template)
            return self._storage.get_trial_number_from_id(trial_id)

    def _end(self, trial: FrozenTrial, outcome: Mapping[str, Any]) -> None:
        """Bring Optuna's state in line with the outcome; nothing to do where it is."""
        state = to_optuna_state(OutcomeKind(outcome["kind"]))
        if trial.state is state:
            return
        value = outcome["value"] if state is not OptunaState.FAIL else None
        try:
            ended = self._storage.set_trial_state_values(
                trial._trial_id, state, None if value is None else [value]
            )
        except UpdateFinishedTrialError:
            return  # another reader repaired it meanwhile
        if not ended:
            raise StoreError(f"the study store {self._location} did not end trial {trial.number}")

    def _check_definition(
        self, study_name: str, study: int, kept: Mapping[str, Any] | None, given: object
    ) -> None:
        if kept is None:
            raise StoreError(
                f"study {study_name} in {self._location} was made by another program; "
                "give the run another name"
            )
        lines = differences(kept, given)
        if self._storage.get_study_directions(study) != [StudyDirection.MINIMIZE]:
            lines.append("direction: not 'minimize' in the store")
        base = "definition.base."
        added = added_fields(kept, given)
        if lines and len(lines) == len(added) and all(name.startswith(base) for name in added):
            # with other fields the trials have other fingerprints: all would be trained anew
            names = ", ".join(name.removeprefix(base) for name in added)
            raise DefinitionMismatchError(
                f"study {study_name} was begun by an earlier version, whose configurations "
                f"lacked {names}; give the run another name, or finish it with that version"
            )
        if lines:
            listed = "\n".join(f"  - {line}" for line in lines)
            raise DefinitionMismatchError(
                f"study {study_name} exists with another definition:\n{listed}\n"
                "Repeat the command as the run was started, or give the new run another name."
            )


def _trial_notes(attributes: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Facts kept for ended trials, by number."""
    notes: dict[int, dict[str, Any]] = {}
    for name, value in attributes.items():
        if name.startswith(TRIAL_NOTE):
            number, key = name.removeprefix(TRIAL_NOTE).split(":", 1)
            notes.setdefault(int(number), {})[key] = value
    return notes
