"""Optuna's pruners, asked about a rung as a whole."""

from __future__ import annotations

import random

import optuna
import pytest

from tuner.adapters.optuna_pruner import OptunaPruner, build_pruner
from tuner.errors import ConfigurationError

EPOCHS = 9


def pruner_of(kind: str, *, epochs: int = EPOCHS, stage: str = "2-lr_l") -> OptunaPruner:
    pruner = build_pruner(kind, stage=stage, epochs=epochs)
    assert pruner is not None
    return pruner


def level_curves(levels: list[float]) -> dict[int, dict[int, float]]:
    """Trials that fall by a millimetre an epoch, from a level each."""
    return {
        number: {epoch: level - epoch for epoch in range(1, EPOCHS + 1)}
        for number, level in enumerate(levels)
    }


@pytest.mark.parametrize(
    ("kind", "epochs", "rungs"),
    [
        ("asha", 2, (1,)),
        ("asha", 9, (1, 3)),
        ("asha", 20, (3, 9)),
        ("asha", 50, (6, 18)),
        ("median", 2, (1,)),
        ("median", 9, (3, 6)),
        ("median", 50, (17, 34)),
        ("hyperband", 9, (1, 3)),
        ("asha", 1, ()),
        ("median", 1, ()),
    ],
)
def test_rungs_lie_at_fixed_parts_of_the_epochs(
    kind: str, epochs: int, rungs: tuple[int, ...]
) -> None:
    assert pruner_of(kind, epochs=epochs).rungs(0) == rungs


@pytest.mark.parametrize("rung", [1, 3])
def test_a_third_passes_a_rung_of_asha(rung: int) -> None:
    levels = [60.0 + n for n in range(12)]
    random.Random(0).shuffle(levels)
    curves = level_curves(levels)
    passed = pruner_of("asha").survivors(0, rung, curves, judged=curves)
    assert passed == {number for number, level in enumerate(levels) if level < 64.0}


@pytest.mark.parametrize("count", [1, 2])
def test_the_best_always_passes(count: int) -> None:
    curves = level_curves([61.0, 60.0][-count:])
    assert pruner_of("asha").survivors(0, 1, curves, judged=curves) == {count - 1}


def test_the_better_half_passes_the_median() -> None:
    curves = level_curves([60.0 + n for n in range(12)])
    assert pruner_of("median").survivors(0, 3, curves, judged=curves) == set(range(6))


def test_the_median_of_few_others_stops_nobody() -> None:
    curves = level_curves([60.0, 61.0, 62.0, 90.0])
    assert pruner_of("median").survivors(0, 3, curves, judged=curves) == {0, 1, 2, 3}


def test_what_comes_after_the_rung_does_not_count() -> None:
    curves = level_curves([60.0 + n for n in range(6)])
    short = {n: {e: v for e, v in curve.items() if e <= 3} for n, curve in curves.items()}
    turned = {n: {**short[n], 9: 100.0 - n * 50.0} for n in curves}
    for kind in ("asha", "median"):
        pruner = pruner_of(kind)
        expected = pruner.survivors(0, 3, short, judged=short)
        assert pruner.survivors(0, 3, turned, judged=turned) == expected
        assert 0 < len(expected) < 6


def test_one_is_judged_as_among_all() -> None:
    curves = level_curves([60.0 + n for n in range(6)])
    for kind in ("asha", "median"):
        pruner = pruner_of(kind)
        together = pruner.survivors(0, 3, curves, judged=curves)
        alone = {n for n in curves if pruner.survivors(0, 3, curves, judged=[n])}
        assert together == alone


def test_asha_agrees_with_a_study_of_optuna_whose_trials_come_one_after_another() -> None:
    """The last to come to a rung is judged by Optuna as we judge everyone."""
    values = [5.0, 3.0, 8.0, 1.0, 4.0, 7.0, 2.0]
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    for last in range(len(values)):
        study = optuna.create_study(pruner=pruner)
        order = [n for n in range(len(values)) if n != last] + [last]
        for number in order:
            trial = study.ask()
            trial.report(values[number], 1)
            stopped = trial.should_prune()
        curves = {n: {1: value} for n, value in enumerate(values)}
        assert (last not in pruner_of("asha").survivors(0, 1, curves, judged=curves)) == stopped


def test_brackets_of_hyperband_are_optunas() -> None:
    ours = pruner_of("hyperband", stage="3-alpha")
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9, reduction_factor=3)
    study = optuna.create_study(study_name="3-alpha", pruner=pruner)
    worst = {bracket: 1.0 for bracket in range(3)}
    for number in range(30):
        trial = study.ask()
        rung = 3 ** ours.bracket(number)
        assert ours.rungs(ours.bracket(number))[:1] == ((rung,) if rung < EPOCHS else ())
        # each is worse than all before it: it goes on only before the first rung of its bracket
        for step in range(1, rung):
            trial.report(1.0, step)
            assert not trial.should_prune()
        trial.report(worst[ours.bracket(number)], rung)
        first = worst[ours.bracket(number)] == 1.0
        assert trial.should_prune() is not first
        worst[ours.bracket(number)] += 1.0
    assert min(worst.values()) > 2.0


def test_stages_have_brackets_of_their_own() -> None:
    first, second = (pruner_of("hyperband", stage=stage) for stage in ("1-lr_p", "2-lr_l"))
    assert [first.bracket(n) for n in range(20)] != [second.bracket(n) for n in range(20)]
    assert {first.bracket(n) for n in range(60)} == {0, 1, 2}


def test_an_unknown_pruner_is_refused() -> None:
    assert build_pruner("none", stage="1-lr_p", epochs=9) is None
    with pytest.raises(ConfigurationError, match="pruner: found 'wilcoxon', expected none or"):
        build_pruner("wilcoxon", stage="1-lr_p", epochs=9)
