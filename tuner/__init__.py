"""Greedy hyperparameter search for SEAL-pose on Ray, with Optuna studies and MLflow tracking."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
