"""What every `StudyStore` promises. A suite subclasses this and supplies `store` and `reopen`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from tuner.errors import StoreError
from tuner.ports import StudyStore
from tuner.records import (
    EpochReport,
    OutcomeKind,
    StageResult,
    StudySpec,
    TrialOutcome,
    TrialSpec,
    TrialState,
)

Reopen = Callable[[], StudyStore]

STUDY = StudySpec(
    run="demo",
    stage="2-lr_l",
    distributions={
        "lr_l": {"low": 1e-5, "high": 1e-3, "log": True, "grid": [1e-5, 1e-4, 1e-3]},
        "alpha": {"low": 0.0, "high": 1e-2, "log": False, "grid": None},
    },
    definition={"sampler": "grid", "budget": {"trials": 4}},
)
NAME = STUDY.study_name


def trial_spec(
    lr_l: float = 1e-4, alpha: float = 0.1 * 3 / 100, *, seed: int = 1, lr_p: float = 1e-3
) -> TrialSpec:
    return TrialSpec(
        base={"backbone": "videopose", "epochs": 3, "data": {"hash": "ü1"}},
        params={"lr_p": lr_p, "lr_l": lr_l, "alpha": alpha},
        seed=seed,
    )


def completed(trial: int, value: float = 61.25, **changes: object) -> TrialOutcome:
    outcome = TrialOutcome(
        trial=trial,
        kind=OutcomeKind.COMPLETED,
        value=value,
        epochs=3,
        best_epoch=2,
        metrics={"val_mpjpe_mm": value, "val_lse": 3.5},
        checkpoint="runs/demo/best",
        seconds=12.5,
        device_seconds=25.0,
        attempts=2,
        node="host-1",
    )
    return dataclasses.replace(outcome, **changes)  # type: ignore[arg-type]  # names by test


class StudyStoreContract:
    """Every test opens the study itself, so that each can be read alone."""

    def test_an_unknown_study_has_no_history(self, store: StudyStore) -> None:
        assert store.history(NAME) is None
        assert store.studies() == ()

    def test_a_new_study_is_empty_and_keeps_its_definition(self, store: StudyStore) -> None:
        store.open_study(STUDY)
        history = store.history(NAME)
        assert history is not None
        assert history.spec == STUDY
        assert history.trials == ()
        assert history.result is None
        assert history.attributes == {}
        assert store.studies() == (NAME,)

    def test_opening_again_changes_nothing(self, store: StudyStore, reopen: Reopen) -> None:
        store.open_study(STUDY)
        store.ask(NAME, trial_spec())
        before = store.history(NAME)
        store.open_study(STUDY)
        assert store.history(NAME) == before
        again = reopen()
        again.open_study(STUDY)
        assert again.history(NAME) == before
        assert again.studies() == (NAME,)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"definition": {"sampler": "tpe", "budget": {"trials": 4}}},
                r"definition\.sampler: 'grid' in the store, 'tpe' now",
            ),
            (
                {"definition": {"sampler": "grid", "budget": {"trials": 9}}},
                r"definition\.budget\.trials: 4 in the store, 9 now",
            ),
            (
                {"distributions": {"lr_l": STUDY.distributions["lr_l"]}},
                r"distributions\.alpha: .* in the store, None now",
            ),
        ],
    )
    def test_another_definition_is_refused_field_by_field(
        self, store: StudyStore, change: dict[str, object], message: str
    ) -> None:
        store.open_study(STUDY)
        other = dataclasses.replace(STUDY, **change)  # type: ignore[arg-type]  # by field name
        with pytest.raises(StoreError, match=message):
            store.open_study(other)
        history = store.history(NAME)
        assert history is not None
        assert history.spec == STUDY

    def test_an_asked_trial_is_running_with_its_full_configuration(
        self, store: StudyStore, reopen: Reopen
    ) -> None:
        store.open_study(STUDY)
        spec = trial_spec()
        assert [store.ask(NAME, spec), store.ask(NAME, trial_spec(seed=2))] == [0, 1]
        for view in (store, reopen()):
            history = view.history(NAME)
            assert history is not None
            first, second = history.trials
            assert (first.number, second.number) == (0, 1)
            assert first.spec == spec
            assert first.spec.fingerprint == spec.fingerprint
            assert first.state is TrialState.RUNNING
            assert (first.value, first.epochs, first.outcome) == (None, 0, None)
            assert first.imported_from is None

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            (trial_spec(lr_l=2e-3), "outside"),
            (trial_spec(alpha=-1e-9), "outside"),
            (TrialSpec(base={}, params={"lr_l": 1e-4}, seed=1), "no value for alpha"),
        ],
    )
    def test_a_trial_outside_the_space_is_refused(
        self, store: StudyStore, spec: TrialSpec, message: str
    ) -> None:
        store.open_study(STUDY)
        with pytest.raises(StoreError, match=message):
            store.ask(NAME, spec)
        history = store.history(NAME)
        assert history is not None
        assert history.trials == ()

    def test_the_ends_of_the_range_belong_to_it(self, store: StudyStore) -> None:
        store.open_study(STUDY)
        assert store.ask(NAME, trial_spec(lr_l=1e-5, alpha=0.0)) == 0
        assert store.ask(NAME, trial_spec(lr_l=1e-3, alpha=1e-2)) == 1

    def test_reports_count_epochs_and_repeats_are_ignored(
        self, store: StudyStore, reopen: Reopen
    ) -> None:
        store.open_study(STUDY)
        number = store.ask(NAME, trial_spec())
        for epoch, value in ((1, 80.0), (2, 70.0), (1, 99.0), (2, 98.0)):
            store.report(NAME, EpochReport(number, epoch, {"val_mpjpe_mm": value}), value=value)
        for view in (store, reopen()):
            history = view.history(NAME)
            assert history is not None
            assert history.trials[0].epochs == 2
            assert history.trials[0].state is TrialState.RUNNING

    def test_a_value_that_is_not_finite_cannot_be_reported(self, store: StudyStore) -> None:
        store.open_study(STUDY)
        number = store.ask(NAME, trial_spec())
        with pytest.raises(StoreError, match="has value nan"):
            store.report(NAME, EpochReport(number, 1, {}), value=float("nan"))

    def test_a_completed_trial_reads_back_exactly(self, store: StudyStore, reopen: Reopen) -> None:
        store.open_study(STUDY)
        number = store.ask(NAME, trial_spec())
        outcome = completed(number, value=0.1 + 0.2)
        store.tell(NAME, outcome)
        for view in (store, reopen()):
            history = view.history(NAME)
            assert history is not None
            record = history.trials[0]
            assert record.outcome == outcome
            assert record.state is TrialState.FINISHED
            assert (record.value, record.epochs, record.best_epoch) == (0.1 + 0.2, 3, 2)

    @pytest.mark.parametrize(
        ("kind", "value", "state"),
        [
            (OutcomeKind.STOPPED_EARLY, 75.5, TrialState.PRUNED),
            (OutcomeKind.STOPPED_EARLY, None, TrialState.PRUNED),
            (OutcomeKind.INVALID_METRIC, None, TrialState.FAILED),
            (OutcomeKind.INVALID_METRIC, 70.0, TrialState.FAILED),
            (OutcomeKind.FAILED, None, TrialState.FAILED),
        ],
    )
    def test_other_ends_have_no_value_to_win_with(
        self,
        store: StudyStore,
        reopen: Reopen,
        kind: OutcomeKind,
        value: float | None,
        state: TrialState,
    ) -> None:
        store.open_study(STUDY)
        number = store.ask(NAME, trial_spec())
        store.report(NAME, EpochReport(number, 1, {}), value=75.5)
        outcome = TrialOutcome(
            number, kind, value=value, epochs=1, reason="why", traceback="Traceback …"
        )
        store.tell(NAME, outcome)
        for view in (store, reopen()):
            history = view.history(NAME)
            assert history is not None
            record = history.trials[0]
            assert (record.state, record.value) == (state, None)
            assert record.outcome == outcome

    def test_figures_that_are_not_finite_are_left_out(self, store: StudyStore) -> None:
        store.open_study(STUDY)
        number = store.ask(NAME, trial_spec())
        metrics = {"val_mpjpe_mm": float("nan"), "lse": 3.0, "loss": float("-inf")}
        store.tell(
            NAME,
            TrialOutcome(number, OutcomeKind.INVALID_METRIC, value=float("-inf"), metrics=metrics),
        )
        history = store.history(NAME)
        assert history is not None
        outcome = history.trials[0].outcome
        assert outcome is not None
        assert (outcome.value, outcome.metrics) == (None, {"lse": 3.0})

    @pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf")])
    def test_completed_needs_a_finite_value(self, store: StudyStore, value: float | None) -> None:
        store.open_study(STUDY)
        number = store.ask(NAME, trial_spec())
        with pytest.raises(StoreError, match="a finite number is needed"):
            store.tell(NAME, dataclasses.replace(completed(number), value=value))
        history = store.history(NAME)
        assert history is not None
        assert history.trials[0].state is TrialState.RUNNING

    def test_a_cancelled_trial_stays_running(self, store: StudyStore) -> None:
        store.open_study(STUDY)
        number = store.ask(NAME, trial_spec())
        store.tell(NAME, TrialOutcome(number, OutcomeKind.CANCELLED, epochs=1))
        history = store.history(NAME)
        assert history is not None
        assert history.trials[0].state is TrialState.RUNNING
        store.tell(NAME, completed(number))
        history = store.history(NAME)
        assert history is not None
        assert history.trials[0].state is TrialState.FINISHED

    def test_telling_the_same_again_changes_nothing(
        self, store: StudyStore, reopen: Reopen
    ) -> None:
        store.open_study(STUDY)
        number = store.ask(NAME, trial_spec())
        store.tell(NAME, completed(number))
        before = store.history(NAME)
        store.tell(NAME, completed(number))
        reopen().tell(NAME, completed(number, seconds=99.0, attempts=3))
        assert store.history(NAME) == before

    @pytest.mark.parametrize(
        "other",
        [completed(0, value=60.0), TrialOutcome(0, OutcomeKind.FAILED, reason="late")],
    )
    def test_another_end_of_an_ended_trial_is_refused(
        self, store: StudyStore, other: TrialOutcome
    ) -> None:
        store.open_study(STUDY)
        store.ask(NAME, trial_spec())
        store.tell(NAME, completed(0))
        before = store.history(NAME)
        with pytest.raises(StoreError, match="already ended with another result"):
            store.tell(NAME, other)
        assert store.history(NAME) == before

    def test_an_ended_trial_reports_no_new_epoch(self, store: StudyStore) -> None:
        store.open_study(STUDY)
        number = store.ask(NAME, trial_spec())
        store.report(NAME, EpochReport(number, 1, {}), value=70.0)
        store.tell(NAME, completed(number))
        store.report(NAME, EpochReport(number, 1, {}), value=70.0)
        with pytest.raises(StoreError, match="has ended; it cannot report epoch 4"):
            store.report(NAME, EpochReport(number, 4, {}), value=60.0)

    def test_importing_a_finished_trial_is_idempotent(
        self, store: StudyStore, reopen: Reopen
    ) -> None:
        later = dataclasses.replace(
            STUDY, stage="3-alpha", distributions={"alpha": STUDY.distributions["alpha"]}
        )
        store.open_study(STUDY)
        store.open_study(later)
        store.ask(NAME, trial_spec(seed=9))
        number = store.ask(NAME, trial_spec())
        store.tell(NAME, completed(number))
        history = store.history(NAME)
        assert history is not None
        source = f"{NAME}#{number}"
        numbers = [
            store.import_finished(later.study_name, history.trials[number], source),
            store.ask(later.study_name, trial_spec(alpha=1e-3)),
            store.import_finished(later.study_name, history.trials[number], source),
            reopen().import_finished(later.study_name, history.trials[number], source),
        ]
        assert numbers == [0, 1, 0, 0]
        copied = reopen().history(later.study_name)
        assert copied is not None
        assert len(copied.trials) == 2
        record = copied.trials[0]
        assert record.imported_from == source
        assert record.spec == trial_spec()
        assert (record.state, record.value) == (TrialState.FINISHED, 61.25)
        assert (record.epochs, record.best_epoch) == (3, 2)
        assert record.outcome == completed(0)
        assert reopen().studies() == (NAME, later.study_name)

    def test_only_finished_trials_are_imported(self, store: StudyStore) -> None:
        store.open_study(STUDY)
        number = store.ask(NAME, trial_spec())
        history = store.history(NAME)
        assert history is not None
        with pytest.raises(StoreError, match="has not finished"):
            store.import_finished(NAME, history.trials[number], "other#0")

    def test_facts_are_kept_with_the_study(self, store: StudyStore, reopen: Reopen) -> None:
        store.open_study(STUDY)
        store.annotate(NAME, "test", {"mpjpe_mm": 63.5})
        store.annotate(NAME, "rounds", 1)
        store.annotate(NAME, "rounds", 2)
        result = StageResult("2-lr_l", 3, {"lr_l": 1e-4, "alpha": 0.1 * 3}, 61.25, "3 of 3 …")
        store.annotate(NAME, "result", result.to_json())
        for view in (store, reopen()):
            history = view.history(NAME)
            assert history is not None
            assert history.attributes == {"test": {"mpjpe_mm": 63.5}, "rounds": 2}
            assert history.result == result

    def test_a_fact_must_be_json(self, store: StudyStore) -> None:
        store.open_study(STUDY)
        with pytest.raises(StoreError, match=r"test of demo/2-lr_l cannot be kept as JSON"):
            store.annotate(NAME, "test", {"mpjpe_mm": float("nan")})

    @pytest.mark.parametrize("when", ["running", "ended", "both"])
    def test_a_tracking_id_is_kept_with_its_trial(
        self, store: StudyStore, reopen: Reopen, when: str
    ) -> None:
        store.open_study(STUDY)
        store.ask(NAME, trial_spec(seed=5))
        number = store.ask(NAME, trial_spec())
        if when != "ended":
            store.annotate(NAME, "mlflow_run_id", "first", trial=number)
        store.tell(NAME, completed(number))
        if when != "running":
            store.annotate(NAME, "mlflow_run_id", "second", trial=number)
        for view in (store, reopen()):
            history = view.history(NAME)
            assert history is not None
            assert history.trials[0].mlflow_run_id is None
            assert history.trials[1].mlflow_run_id == ("first" if when == "running" else "second")
            assert history.attributes == {}

    def test_a_trials_configuration_cannot_be_annotated_away(self, store: StudyStore) -> None:
        store.open_study(STUDY)
        number = store.ask(NAME, trial_spec())
        with pytest.raises(StoreError, match="written by the store alone"):
            store.annotate(NAME, "spec", {}, trial=number)

    def test_unknown_studies_and_trials_are_named(self, store: StudyStore) -> None:
        with pytest.raises(StoreError, match="no study demo/2-lr_l"):
            store.ask(NAME, trial_spec())
        with pytest.raises(StoreError, match="no study demo/2-lr_l"):
            store.annotate(NAME, "test", 1)
        store.open_study(STUDY)
        with pytest.raises(StoreError, match="demo/2-lr_l has no trial 7"):
            store.tell(NAME, completed(7))
        with pytest.raises(StoreError, match="demo/2-lr_l has no trial 7"):
            store.report(NAME, EpochReport(7, 1, {}), value=1.0)

    def test_what_is_read_cannot_change_what_is_kept(self, store: StudyStore) -> None:
        store.open_study(STUDY)
        number = store.ask(NAME, trial_spec())
        outcome = completed(number)
        store.tell(NAME, outcome)
        before = store.history(NAME)
        assert before is not None
        outcome.metrics["val_mpjpe_mm"] = 0.0  # type: ignore[index]  # the point of the test
        history = store.history(NAME)
        assert history is not None
        assert history.trials[0].outcome == completed(number)
