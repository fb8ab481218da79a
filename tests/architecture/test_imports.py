"""The import rules, as data, checked over the syntax trees."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("search_spaces", "trainables", "tuner")
HEAVY = ("ray", "mlflow", "optuna", "torch")

# The command line reaches the adapters through the wiring only.
BEHIND_THE_COMMANDS = (
    *("tuner.cli", "tuner.wiring", "tuner.reports", "tuner.settings", "tuner.greedy_config"),
    *("tuner.ports", "tuner.records", "tuner.errors", "trainables", "search_spaces"),
)

# Longest prefix decides: what a module may import of ours, and of the heavy libraries.
RULES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "search_spaces": (("search_spaces",), ()),
    "trainables": (("trainables",), ("torch",)),
    "trainables.config": (("trainables.config", "trainables.config_parts"), ()),
    "trainables.config_parts": ((), ()),
    "trainables.windows": ((), ()),
    "trainables.names": ((), ()),
    "trainables.faults": (("trainables.names",), ()),
    "trainables.skeletons": (
        ("trainables.skeletons", "trainables.errors", "trainables.faults", "trainables.names"),
        (),
    ),
    "trainables.errors": ((), ()),
    "trainables.ray_trainable": (("trainables",), ("ray", "torch")),
    "tuner": (("tuner",), ()),
    "tuner.errors": ((), ()),
    "tuner.records": ((), ()),
    "tuner.ports": (("tuner.records", "tuner.errors", "search_spaces"), ()),
    "tuner.settings": (("tuner.errors", "search_spaces"), ()),
    "tuner.protocol": (
        ("tuner.protocol", "tuner.records", "tuner.errors", "search_spaces"),
        (),
    ),
    "tuner.engine": (
        (
            *("tuner.protocol", "tuner.ports", "tuner.session", "tuner.pretraining"),
            *("tuner.records", "tuner.errors", "tuner.recording", "tuner.cache"),
        ),
        (),
    ),
    "tuner.lease_holder": ((), ()),
    "tuner.lease": (("tuner.lease_holder", "tuner.errors"), ()),
    "tuner.fenced": (("tuner.lease", "tuner.ports", "tuner.records"), ()),
    "tuner.patient_store": (("tuner.ports", "tuner.records", "tuner.errors"), ()),
    "tuner.adapters.database_leases": (
        ("tuner.adapters", "tuner.lease", "tuner.lease_holder"),
        (),
    ),
    "tuner.adapters.file_leases": (
        ("tuner.adapters", "tuner.lease", "tuner.lease_holder", "tuner.errors"),
        (),
    ),
    "tuner.pretraining": (("tuner.ports", "tuner.records", "tuner.errors"), ()),
    "tuner.cache": (("tuner.ports", "tuner.records"), ()),
    "tuner.recording": (
        ("tuner.protocol", "tuner.ports", "tuner.cache", "tuner.records", "tuner.errors"),
        (),
    ),
    "tuner.session": (
        (
            *("tuner.protocol", "tuner.ports", "tuner.recording", "tuner.records"),
            *("tuner.errors", "tuner.rungs", "tuner.patient_store"),
        ),
        (),
    ),
    "tuner.rungs": (("tuner.ports", "tuner.records"), ()),
    "tuner.adapters": (
        ("tuner.adapters", "tuner.ports", "tuner.records", "tuner.errors", "search_spaces"),
        (),
    ),
    "tuner.adapters.optuna": (
        ("tuner.adapters", "tuner.ports", "tuner.records", "tuner.errors", "search_spaces"),
        ("optuna",),
    ),
    "tuner.adapters.ray": (
        ("tuner.adapters", "tuner.ports", "tuner.records", "tuner.errors"),
        ("ray",),
    ),
    "tuner.adapters.job": (("tuner.adapters", "tuner.errors", "tuner.records"), ("ray",)),
    "tuner.adapters.mlflow": (
        ("tuner.adapters", "tuner.ports", "tuner.records", "tuner.errors"),
        ("mlflow",),
    ),
    # Code that MLflow runs where the model is served: it rebuilds the net.
    "tuner.adapters.pose_lifter": (("trainables", "tuner.adapters"), ("mlflow", "torch")),
    "tuner.wiring": (("tuner", "trainables", "search_spaces"), ("torch",)),
    "tuner.cli": (BEHIND_THE_COMMANDS, ()),
}


def _modules() -> Iterator[tuple[str, Path]]:
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def _rule(module: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    key = max((k for k in RULES if module == k or module.startswith(k)), key=len)
    return RULES[key]


def _within(name: str, allowed: tuple[str, ...]) -> bool:
    return any(name == entry or name.startswith(f"{entry}.") for entry in allowed)


MODULES = list(_modules())


def test_all_modules_are_found() -> None:
    assert len(MODULES) > 30


@pytest.mark.parametrize(("module", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_module_imports_only_what_its_rule_allows(module: str, path: Path) -> None:
    ours, heavy = _rule(module)
    for name in _imports(path):
        top = name.split(".")[0]
        if top in OURS:
            assert name == "tuner" or _within(name, (*ours, module)), f"{module} imports {name}"
        elif top in HEAVY:
            assert top in heavy, f"{module} imports {name}"


@pytest.mark.parametrize(
    "module", ["search_spaces", "tuner.protocol.greedy", "tuner.engine", "tuner.cli"]
)
def test_importing_loads_no_heavy_library(module: str) -> None:
    code = f"import sys, {module}; print([n for n in {HEAVY!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
