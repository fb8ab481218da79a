"""Stages as data: what is tuned, what is fixed from where, with which budget (paper A.5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from search_spaces import STAGE_PARAMETERS, GreedySpace, StageSpace
from tuner.errors import ConfigurationError
from tuner.protocol.generations import CHECK_STAGE, CONFIRM_STAGE, stage_name

__all__ = ["ALPHA_STAGE", "LR_L_STAGE", "LR_P_STAGE", "Protocol", "PrunerKind", "SamplerKind"]
__all__ += ["Stage", "build_greedy_protocol", "stage_of"]

SamplerKind = Literal["grid", "random", "tpe"]
PrunerKind = Literal["none", "asha", "median", "hyperband"]

LR_P_STAGE = "1-lr_p"
LR_L_STAGE = "2-lr_l"
ALPHA_STAGE = "3-alpha"


@dataclass(frozen=True)
class Stage:
    """One stage of a protocol.

    Attributes:
        name: Name of the stage, `1-lr_p`; its study is `<run>/<name>`.
        keeps: Tuned hyperparameters that later stages take from the winner.
        space: What is tuned, and where.
        fixed_from: Hyperparameters fixed to the winner's value of an earlier stage.
        base: Training configuration without hyperparameters and seed.
        sampler: How points are chosen. A grid is fixed in advance.
        trials: Trials to run; ignored by `grid`, which runs every point.
        batch_size: A sampler that learns is asked for so many trials at a time, once the
            batch before has ended, so that timing cannot change what it proposes.
        pruner: Who stops trials that fall behind.
        asynchronous: Whether it judges a trial at once, with what is known then, instead of with
            all others that reach the same epoch.
        carry_over: Earlier stages whose finished trials with the same configuration enter
            this study as finished ones.
    """

    name: str
    keeps: tuple[str, ...]
    space: StageSpace
    fixed_from: Mapping[str, str]
    base: Mapping[str, Any]
    sampler: SamplerKind = "grid"
    trials: int = 0
    batch_size: int = 4
    pruner: PrunerKind = "none"
    asynchronous: bool = False
    carry_over: tuple[str, ...] = ()

    def checked_points(self) -> list[dict[str, float]]:
        """Points that show whether the stage can run: the whole grid, or the ranges' ends."""
        return self.space.grid_points() if self.sampler == "grid" else self.space.corners()

    def definition(self, fixed: Mapping[str, float], *, seed: int) -> dict[str, Any]:
        """Everything that a reopened study must agree with, as JSON values."""
        # left out where nothing is pruned: runs begun before there was a pruner lack it
        pruning = {"pruner": self.pruner, "asynchronous": self.asynchronous}
        return {
            "seed": seed,
            "tunes": list(self.space.names),
            "keeps": list(self.keeps),
            "space": self.space.distributions(),
            "fixed": dict(fixed),
            "base": dict(self.base),
            "sampler": self.sampler,
            "trials": self.trials,
            "batch_size": self.batch_size,
            **({} if self.pruner == "none" else pruning),
        }


@dataclass(frozen=True)
class Protocol:
    """Stages in order, for one run.

    Attributes:
        run: Name of the run.
        seed: Base seed of everything.
        stages: In order; the first is the baseline, the last decides.
        confirm: Repeats of the choices with fresh seeds, as many as its `trials`; None for none.
        confirm_runners_up: How many configurations are repeated besides baseline and winner.
        check: A joint search around the winner; None for none.
    """

    run: str
    seed: int
    stages: tuple[Stage, ...] = field(default=())
    confirm: Stage | None = None
    confirm_runners_up: int = 1
    check: Stage | None = None

    def __post_init__(self) -> None:
        known: set[str] = set()
        for stage in self.stages:
            for name, source in stage.fixed_from.items():
                if source not in known:
                    raise ConfigurationError(
                        f"stage {stage.name!r} fixes {name} from {source!r}, "
                        f"which is no earlier stage (earlier: {sorted(known) or 'none'})"
                    )
            if stage.name in known:
                raise ConfigurationError(f"stage name {stage.name!r} is used twice")
            known.add(stage.name)

    @property
    def all_stages(self) -> tuple[Stage, ...]:
        """The stages, then those that only judge their outcome."""
        optional = (self.confirm, self.check)
        return (*self.stages, *(stage for stage in optional if stage is not None))

    def study_name(self, stage: str) -> str:
        """Name of a stage's study, by its label: the stage's name, or `2-lr_l~2`."""
        return f"{self.run}/{stage}"


def stage_of(protocol: Protocol, label: str) -> Stage:
    """The stage of that name, or that a study of that label belongs to; it must exist."""
    name = stage_name(label)
    return next(stage for stage in protocol.all_stages if stage.name == name)


def build_greedy_protocol(
    run: str,
    *,
    seed: int,
    space: GreedySpace,
    base: Mapping[str, Any],
    baseline: Mapping[str, Any],
    sampler: SamplerKind = "grid",
    trials: Mapping[str, int] | None = None,
    batch_size: int = 4,
    pruner: PrunerKind = "none",
    asynchronous: bool = False,
    confirm_seeds: int | None = None,
    confirm_runners_up: int = 1,
    check: int | None = None,
) -> Protocol:
    """The paper's protocol: lr_p alone, then lr_l and α together, then α (A.5).

    What the space tunes besides is kept from the winner of the stage that tunes it, like that
    stage's learning rate.

    Args:
        run: Name of the run.
        seed: Base seed.
        space: Where each stage looks.
        base: Training configuration of stages 2 and 3.
        baseline: Training configuration of stage 1: the same without loss-net.
        sampler: `grid` runs every grid point; `random` and `tpe` draw from the ranges.
        trials: Trials per stage (`lr_p`, `lr_l`, `alpha`) for `random` and `tpe`.
        batch_size: Trials that a learning sampler is asked for at a time.
        pruner: Who stops trials that fall behind.
        asynchronous: Whether a trial is judged at once, whoever else is there yet.
        confirm_seeds: Fresh seeds that the choices are trained with once more; None for none.
        confirm_runners_up: Further configurations of the last stage that are trained with them.
        check: Trials of a joint search around the winner; None for none.
    """
    budget = trials or {}
    common: dict[str, Any] = {
        **{"sampler": sampler, "batch_size": batch_size},
        **{"pruner": pruner, "asynchronous": asynchronous},
    }
    from_first = ("lr_p", *_extras(space, "lr_p"))
    from_second = ("lr_l", *_extras(space, "lr_l"))
    before_second = dict.fromkeys(from_first, LR_P_STAGE)
    return Protocol(
        run=run,
        seed=seed,
        stages=(
            Stage(
                name=LR_P_STAGE,
                keeps=from_first,
                space=space.stages["lr_p"],
                fixed_from={},
                base=baseline,
                trials=budget.get("lr_p", 0),
                **common,
            ),
            Stage(
                name=LR_L_STAGE,
                keeps=from_second,
                space=space.stages["lr_l"],
                fixed_from=before_second,
                base=base,
                trials=budget.get("lr_l", 0),
                **common,
            ),
            Stage(
                name=ALPHA_STAGE,
                keeps=("alpha",),
                space=space.stages["alpha"],
                fixed_from={**before_second, **dict.fromkeys(from_second, LR_L_STAGE)},
                base=base,
                trials=budget.get("alpha", 0),
                carry_over=(LR_L_STAGE,),
                **common,
            ),
        ),
        confirm=None if confirm_seeds is None else _confirm_stage(base, confirm_seeds),
        confirm_runners_up=confirm_runners_up,
        check=None if check is None else _check_stage(space, base, check, batch_size),
    )


def _confirm_stage(base: Mapping[str, Any], seeds: int) -> Stage:
    """A stage that tunes nothing, which no file may ask for; its trials bring their own base."""
    nothing = StageSpace.model_construct(root={})
    return Stage(CONFIRM_STAGE, (), nothing, fixed_from={}, base=base, trials=seeds)


def _check_stage(
    space: GreedySpace, base: Mapping[str, Any], trials: int, batch_size: int
) -> Stage:
    """Everything that the stages tune, tuned together; by TPE, whatever they use."""
    together = {k: v for stage in space.stages.values() for k, v in stage.parameters.items()}
    return Stage(
        name=CHECK_STAGE,
        keeps=(),
        space=StageSpace.model_construct(root=together),  # each was checked where it stands
        fixed_from={},
        base=base,
        sampler="tpe",
        trials=trials,
        batch_size=batch_size,
        carry_over=(LR_L_STAGE, ALPHA_STAGE),
    )


def _extras(space: GreedySpace, stage: str) -> tuple[str, ...]:
    """What a stage of the space tunes besides the protocol's own hyperparameters."""
    names = space.stages[stage].names
    return tuple(name for name in names if name not in STAGE_PARAMETERS[stage])
