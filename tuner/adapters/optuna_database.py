"""Optuna's database storage, made to cost the same for the ten-thousandth trial."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import sqlalchemy as sql
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial

__all__ = ["FlatDatabase", "Guard"]

Guard = Callable[[Any], AbstractContextManager[None]]
"""What a write happens under; it is given the open transaction, None where there is none."""


class FlatDatabase(RDBStorage):
    """`RDBStorage` that creates a trial in one attempt, without counting those before it.

    Optuna counts a study's trials for each new one, and after a fault creates the trial again: if
    the connection broke while the first was being committed, there are two. Here the caller
    decides, who can look whether the trial is there.

    Attributes:
        guard: Entered with the session that creates a trial, before it writes; it refuses by
            raising.
    """

    guard: Guard = nullcontext

    def _create_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None = None
    ) -> FrozenTrial:
        if template_trial is None:
            return super()._create_new_trial(study_id)
        frozen = copy.deepcopy(template_trial)
        with _create_scoped_session(self.scoped_session) as session:
            if session.get_bind().dialect.name == "sqlite":
                # it has no lock for a row, and would look for the number outside of a transaction
                session.execute(sql.text("BEGIN IMMEDIATE"))
            # locks the study: numbers are given one after the other
            models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
            with self.guard(session):
                _add_trial(session, study_id, frozen)
        return frozen


def _add_trial(session: Any, study_id: int, frozen: FrozenTrial) -> None:
    """Write a trial; its number and id become known by that."""
    frozen.number = _next_number(session, study_id)
    trial: Any = models.TrialModel(
        study_id=study_id,
        number=frozen.number,
        state=frozen.state,
        datetime_start=frozen.datetime_start,
        datetime_complete=frozen.datetime_complete,
    )
    session.add(trial)
    session.flush()
    frozen._trial_id = trial.trial_id
    session.add_all(_rows(frozen))


def _next_number(session: Any, study_id: int) -> int:
    last = (
        sql.select(models.TrialModel.number)
        .where(models.TrialModel.study_id == study_id)
        .order_by(models.TrialModel.trial_id.desc())
        .limit(1)
    )
    number = session.execute(last).scalar()
    return 0 if number is None else int(number) + 1


def _rows(trial: FrozenTrial) -> Iterator[object]:
    """All that is known of a trial, as Optuna's tables hold it."""
    owner = {"trial_id": trial._trial_id}
    if trial.state.is_finished() and trial.values is not None:
        for objective, value in enumerate(trial.values):
            kept, kind = models.TrialValueModel.value_to_stored_repr(value)
            yield models.TrialValueModel(**owner, objective=objective, value=kept, value_type=kind)
    for name, value in trial.params.items():
        distribution = trial.distributions[name]
        yield models.TrialParamModel(
            **owner,
            param_name=name,
            param_value=distribution.to_internal_repr(value),
            distribution_json=distribution_to_json(distribution),
        )
    for key, value in trial.user_attrs.items():
        yield models.TrialUserAttributeModel(**owner, key=key, value_json=json.dumps(value))
    for key, value in trial.system_attrs.items():
        yield models.TrialSystemAttributeModel(**owner, key=key, value_json=json.dumps(value))
    of_epoch = models.TrialIntermediateValueModel
    for step, value in trial.intermediate_values.items():
        number, sort = of_epoch.intermediate_value_to_stored_repr(value)
        yield of_epoch(**owner, step=step, intermediate_value=number, intermediate_value_type=sort)
