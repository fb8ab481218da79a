"""Settings files: every option once. Where decoded data are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.errors import ConfigurationError
from tuner.settings import data_cache, read_yaml


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


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"TUNER_DATA_CACHE": "/scratch/poses", "XDG_CACHE_HOME": "/c"}, "/scratch/poses"),
        ({"TUNER_DATA_CACHE": "~/poses"}, "HOME/poses"),
        ({"TUNER_DATA_CACHE": "poses"}, "HERE/poses"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/seal-pose-tuner/data"),
        ({"XDG_CACHE_HOME": "relative"}, "HOME/.cache/seal-pose-tuner/data"),
        ({"TUNER_DATA_CACHE": ""}, "HOME/.cache/seal-pose-tuner/data"),
        ({}, "HOME/.cache/seal-pose-tuner/data"),
    ],
)
def test_decoded_data_have_a_folder(environment: dict[str, str], folder: str) -> None:
    expected = folder.replace("HOME", str(Path.home())).replace("HERE", str(Path.cwd()))
    assert str(data_cache(environment)) == expected


def test_decoded_data_need_no_folder() -> None:
    assert data_cache({"TUNER_DATA_CACHE": "off"}) is None


def test_tests_keep_decoded_data_away_from_the_users_own() -> None:
    folder = data_cache()
    assert folder is not None
    assert not folder.is_relative_to(Path.home() / ".cache")
