"""What becomes of a `greedy` command line on its way to a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.cli.job_plan import plan_job
from tuner.errors import ConfigurationError
from tuner.wiring.jobs import PACKAGES, check_upload_size, shipped_packages


def test_name_home_and_address_are_added() -> None:
    plan = plan_job(["greedy", "--backbone", "videopose"], name="sub", home="/shared")

    assert plan.run == "sub"
    assert plan.arguments == (
        *("greedy", "--backbone", "videopose"),
        *("--name", "sub", "--home", "/shared", "--address", "auto"),
    )


def test_what_the_arguments_hold_already_is_kept() -> None:
    words = ["greedy", "--name=sub", "--home", "/shared", "--address", "local", "--preset=quick"]

    plan = plan_job(words, name="sub")

    assert (plan.run, plan.arguments, plan.notes) == ("sub", tuple(words), ())


def test_a_generated_name_is_the_same_for_the_same_arguments() -> None:
    first = plan_job(["greedy", "--backbone", "videopose"])

    assert first == plan_job(["greedy", "--backbone", "videopose"])
    assert first.run != plan_job(["greedy", "--backbone", "simplebaseline"]).run
    assert first.arguments[-2:] == ("--name", first.run)


def test_with_a_preset_the_generated_name_is_the_one_of_greedy() -> None:
    plan = plan_job(["greedy", "--backbone", "videopose", "--preset", "quick"])

    assert plan.run.startswith("videopose-sample-graph-quick-")


@pytest.mark.parametrize("words", [[], ["train"], ["--backbone", "videopose"]])
def test_only_greedy_can_be_submitted(words: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="runs `greedy` only; found"):
        plan_job(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data-dir", "../data"], r"--data-dir '\.\./data' is relative"),
        (["--home=runs"], "--home 'runs' is relative"),
        (["--space", "mine.yaml"], "--space 'mine.yaml' is relative"),
        (["--checkpoint-root", "points"], "--checkpoint-root 'points' is relative"),
        (["--name", "a/b"], "--name 'a/b' cannot name a run"),
        (["--name", "other"], "--name is 'sub' before `--` and 'other' after"),
    ],
)
def test_faults_name_the_option(words: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        plan_job(["greedy", *words], name="sub")


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"3 problems:(.|\n)*data-dir(.|\n)*name"):
        plan_job(["greedy", "--data-dir", "x", "--home", "y", "--name", "a/b"])


@pytest.mark.parametrize(
    "words",
    [
        ["--storage", "postgresql://ann:hunter2@db/tuner"],
        ["--tracking-uri=https://ann:hunter2@mlflow"],
        ["--storage", "postgresql://db/tuner?password=hunter2"],
    ],
)
def test_passwords_in_arguments_are_refused_and_not_shown(words: list[str]) -> None:
    option = words[0].partition("=")[0]
    with pytest.raises(ConfigurationError, match=f"{option}: its URL holds a password") as refused:
        plan_job(["greedy", *words], name="sub")
    assert "hunter2" not in str(refused.value)


def test_a_url_without_password_and_a_preset_space_pass() -> None:
    words = ["greedy", "--storage", "postgresql://ann@db/tuner", "--space", "wide"]

    assert plan_job(words, name="sub").arguments[:5] == tuple(words)


def test_what_the_head_node_decides_is_said() -> None:
    notes = " ".join(plan_job(["greedy"], name="sub").notes)

    assert "No --home given" in notes
    assert "No --preset given" in notes


def test_the_installed_packages_are_shipped_whole() -> None:
    folders = shipped_packages()

    assert tuple(folder.name for folder in folders) == PACKAGES
    assert all((folder / "py.typed").is_file() for folder in folders)


def test_a_package_that_a_job_server_would_refuse_names_its_largest_file(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"x" * 1024)
    (tmp_path / "large.bin").write_bytes(b"x" * 2 * 2**20)

    with pytest.raises(ConfigurationError, match=r"holds 2 MiB.*most 1\..*large\.bin"):
        check_upload_size(tmp_path, limit_mib=1)
    check_upload_size(tmp_path, limit_mib=3)
