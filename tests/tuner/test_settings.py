"""Settings files: every option once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.errors import ConfigurationError
from tuner.settings import read_yaml


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_options_are_read_with_either_line(tmp_path: Path) -> None:
    path = write(tmp_path, "loss-net: mlp\nlr_p: 1.0e-3\n")
    assert read_yaml(path) == {"loss_net": "mlp", "lr_p": 1e-3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "epochs: 3\nseed: 1\nepochs: 4\n",
            r"settings\.yaml: no valid YAML: line 3: key 'epochs' is given twice, first in line 1",
        ),
        ("loss-net: mlp\nloss_net: graph\n", r"settings\.yaml: loss_net is given twice, with '-'"),
        ("[1]", "found list, expected `option: value` lines"),
    ],
)
def test_what_would_lose_a_setting_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_yaml(write(tmp_path, text))
