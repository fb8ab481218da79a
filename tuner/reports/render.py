"""A run's report: one self-contained page, Markdown, a table of trials, pictures, JSON."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from tuner.pretraining import pretraining_line
from tuner.protocol.selection import format_value
from tuner.records import StudyHistory
from tuner.reports.confirmation import verdict_text
from tuner.reports.confirmation_tables import (
    candidate_rows,
    confirmation_csv,
    difference_rows,
    difference_text,
    interval_text,
    seed_rows,
    shown_metrics,
    spread_text,
)
from tuner.reports.decisions import decisions
from tuner.reports.figures import figures_of, to_png
from tuner.reports.joint_check import noise_text
from tuner.reports.run_summary import RunSummary, StageSummary
from tuner.reports.tables import (
    comparison_rows,
    confirmation_note,
    direction_note,
    duration_text,
    headline,
    next_steps,
    params_text,
    place_rows,
    selection_note,
    source_text,
    stage_notes,
    stage_rows,
)

__all__ = ["write_report"]

TRIAL_COLUMNS = (
    *("stage", "trial", "state", "val_mpjpe_mm", "epochs", "best_epoch", "seconds", "attempts"),
    *("seed", "imported_from", "checkpoint", "mlflow_run_id", "reason"),
)


def write_report(
    summary: RunSummary,
    histories: Mapping[str, StudyHistory],
    folder: Path,
) -> list[Path]:
    """Write a run's report; works for a run that is not finished, too.

    Each file is replaced as a whole, so that a reader never sees half of one.

    Args:
        summary: The run.
        histories: Its studies, for the decisions and the definition of each stage.
        folder: Where to write; created if missing.

    Returns:
        The files written: `report.html`, `report.md`, `trials.csv`, `decisions.jsonl`,
        `summary.json` and `figures/*.png`; of a confirmed run `confirmation.csv` besides.
    """
    curves = {
        stage: {trial.number: trial.curve for trial in study.trials if trial.curve}
        for stage, study in histories.items()
    }
    pictures = {name: to_png(figure) for name, figure in figures_of(summary, curves).items()}
    context = _context(summary, histories, pictures)
    files = {
        "report.html": _render("report.html.j2", context),
        "report.md": _render("report.md.j2", context),
        "trials.csv": _trials_csv(summary).encode(),
        "decisions.jsonl": "".join(
            f"{json.dumps(entry)}\n" for entry in decisions(histories)
        ).encode(),
        "summary.json": json.dumps(summary.to_json(), indent=2).encode() + b"\n",
        **_confirmation_files(summary),
        **{f"figures/{name}.png": picture for name, picture in pictures.items()},
    }
    for name, content in files.items():
        _write(folder / name, content)
    return [folder / name for name in files]


def _confirmation_files(summary: RunSummary) -> dict[str, bytes]:
    if summary.confirmation is None:
        return {}
    return {"confirmation.csv": confirmation_csv(summary.confirmation).encode()}


def _context(
    summary: RunSummary,
    histories: Mapping[str, StudyHistory],
    pictures: Mapping[str, bytes],
) -> dict[str, Any]:
    inline = {name: base64.b64encode(data).decode() for name, data in pictures.items()}
    comparison = comparison_rows(summary)
    return {
        "summary": summary,
        "headline": headline(summary),
        "selection_note": selection_note(summary),
        "comparison": comparison,
        "direction_note": direction_note(comparison),
        "check_note": noise_text(summary.check) if summary.check else "",
        "confirmation": _confirmation_context(summary),
        "stages": [
            (
                *(stage, row, stage_notes(stage), _trial_columns(stage)),
                histories[stage.name].spec.definition,
            )
            for stage, row in zip(summary.stages, stage_rows(summary), strict=True)
        ],
        "places": place_rows(summary),
        "steps": next_steps(summary),
        "configuration": _flat(summary.configuration),
        "training_time": duration_text(summary.seconds),
        "pretraining": pretraining_line(summary.pretraining) if summary.pretraining else "",
        "pictures": inline,
    }


def _confirmation_context(summary: RunSummary) -> dict[str, Any] | None:
    found = summary.confirmation
    if found is None:
        return None
    return {
        "text": verdict_text(found),
        "note": confirmation_note(summary),
        "metrics": shown_metrics(found),
        "candidates": candidate_rows(found),
        "differences": difference_rows(found),
        "roles": [candidate.role for candidate in found.candidates],
        "seeds": seed_rows(found),
    }


def _trial_columns(stage: StageSummary) -> list[str]:
    """Validation metrics that trials of the stage have, beside the objective."""
    wanted = ("val_p_mpjpe_mm", "val_lse", "val_lle", "val_bsle")
    return [name for name in wanted if any(name in trial.metrics for trial in stage.trials)]


def _render(template: str, context: Mapping[str, Any]) -> bytes:
    environment = Environment(
        loader=PackageLoader("tuner.reports"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["params"] = params_text
    environment.filters["value"] = format_value
    environment.filters["spread"] = spread_text
    environment.filters["difference"] = difference_text
    environment.filters["interval"] = interval_text
    environment.globals["source_text"] = source_text
    environment.filters["cell"] = _markdown_cell
    return environment.get_template(template).render(context).encode()


def _markdown_cell(value: object) -> str:
    """Text that cannot break a Markdown table."""
    return str(value).replace("|", "\\|").replace("\n", " ")


def _trials_csv(summary: RunSummary) -> str:
    rows = [(stage.name, trial) for stage in summary.stages for trial in stage.trials]
    params = list(dict.fromkeys(name for _, trial in rows for name in trial.params))
    metrics = list(dict.fromkeys(name for _, trial in rows for name in trial.metrics))
    metrics = [name for name in metrics if name not in (*TRIAL_COLUMNS, *params)]
    tested = list(dict.fromkeys(f"test_{name}" for _, trial in rows for name in trial.test or ()))
    buffer = io.StringIO()
    columns = [*TRIAL_COLUMNS[:3], *params, *TRIAL_COLUMNS[3:], *metrics, *tested]
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    for stage, trial in rows:
        known = trial.to_json()
        cells = {name: known[name] for name in TRIAL_COLUMNS[2:]}
        shown = {name: trial.metrics[name] for name in metrics if name in trial.metrics}
        shown |= {f"test_{name}": value for name, value in (trial.test or {}).items()}
        writer.writerow({"stage": stage, "trial": trial.number, **cells, **trial.params, **shown})
    return buffer.getvalue()


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Settings as (dotted name, text); those that were left open are skipped."""
    flat: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat += _flat(value, f"{prefix}{name}.")
        elif value is not None:
            flat.append((f"{prefix}{name}", str(value)))
    return flat


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that nobody else may read, and a report is meant to be shared
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
