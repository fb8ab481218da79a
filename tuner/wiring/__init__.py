"""Builds the adapters and joins them with trainables: the only place that knows everything."""

from __future__ import annotations

from tuner.wiring.cost import describe_plan
from tuner.wiring.plan import Plan, plan_greedy
from tuner.wiring.run import ResumeMode, load_run_config, run_greedy, summarise_run
from tuner.wiring.stores import load_histories, open_store, run_names

__all__ = [
    "Plan",
    "ResumeMode",
    "describe_plan",
    "load_histories",
    "load_run_config",
    "open_store",
    "plan_greedy",
    "run_greedy",
    "run_names",
    "summarise_run",
]
