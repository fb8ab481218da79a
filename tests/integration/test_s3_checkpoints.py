"""Checkpoints in S3: whole objects, the one before, and clear refusals."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.integration.s3_server import S3Server, s3_server, s3_without_listing
from tests.trainables.seal.conftest import make_config, tiny_dataset
from trainables.best_nets import restore_best
from trainables.checkpoint import CheckpointStore, load_checkpoint
from trainables.config import TrainingConfig
from trainables.data.dataset import PoseDataset
from trainables.errors import CheckpointError
from trainables.storage import check_writable, file_exists
from trainables.trial_run import TrialRun
from tuner.adapters.pose_lifter_package import extract_weights
from tuner.wiring.lifter import load_lifter

__all__ = ["make_config", "tiny_dataset"]

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CPU = torch.device("cpu")
FINGERPRINT = "ab12"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in server.variables.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def root(s3: S3Server, request: pytest.FixtureRequest) -> str:
    return f"s3://{s3.bucket}/{abs(hash(request.node.name))}/run"


def state(value: float) -> dict[str, Any]:
    return {"weight": torch.full((3,), value)}


def key(s3: S3Server, location: str) -> str:
    return location.removeprefix(f"s3://{s3.bucket}/")


def test_the_last_and_the_one_before_are_kept(s3: S3Server, root: str) -> None:
    store = CheckpointStore(root)
    assert store.find(FINGERPRINT, "last").checkpoint is None
    assert not store.exists(FINGERPRINT, "last")
    versions = set()
    for value in (1.0, 2.0, 3.0):
        location = store.save(FINGERPRINT, "last", state(value), {"value": value})
        versions.add(store.version(FINGERPRINT, "last"))
    assert location == f"{root}/{FINGERPRINT}/last.ckpt"
    assert len(versions) >= 1
    assert load_checkpoint(location).meta["value"] == 3.0
    before = location.replace("last.ckpt", "last.previous.ckpt")
    assert load_checkpoint(before).meta["value"] == 2.0
    store.drop_previous(FINGERPRINT)
    assert [file_exists(location), file_exists(before)] == [True, False]
    store.forget(FINGERPRINT)
    assert not s3.keys(key(s3, root))


def test_a_damaged_object_is_passed_over_and_never_kept(s3: S3Server, root: str) -> None:
    store = CheckpointStore(root)
    for value in (1.0, 2.0):
        location = store.save(FINGERPRINT, "last", state(value), {"value": value})
    s3.write(key(s3, location), s3.read(key(s3, location))[:-50])
    found = store.find(FINGERPRINT, "last")
    assert found.checkpoint is not None
    assert found.checkpoint.meta["value"] == 1.0
    assert "damaged or truncated" in found.notes[0]
    assert "the checkpoint before it is used: s3://" in found.notes[1]
    store.save(FINGERPRINT, "last", state(3.0), {"value": 3.0})
    before = location.replace("last.ckpt", "last.previous.ckpt")
    assert load_checkpoint(before).meta["value"] == 1.0, "the damaged one did not take its place"


def test_a_training_goes_on_and_its_best_nets_are_read_by_location(
    root: str,
    make_config: Callable[..., TrainingConfig],
    tiny_dataset: PoseDataset,
    tmp_path: Path,
) -> None:
    config = make_config(loss_net="mlp", epochs=3)

    def start(where: Path | str) -> TrialRun:
        return TrialRun(
            config, tiny_dataset, store=CheckpointStore(where), fingerprint="cd34", device=CPU
        )

    start(root).step()
    second = start(root)
    reports = [second.step() for _ in range(3)]
    local = start(tmp_path)
    expected = [local.step() for _ in range(3)]
    assert [r["metrics"]["val_mpjpe_mm"] for r in reports] == [
        r["metrics"]["val_mpjpe_mm"] for r in expected
    ]
    best = reports[-1]["checkpoint"]
    assert best == f"{root}/cd34/best.ckpt"
    restored = restore_best(
        config,
        tiny_dataset,
        store=CheckpointStore(tmp_path / "none"),
        fingerprint="cd34",
        device=CPU,
        elsewhere=best,
    )
    assert (restored.location, restored.notes) == (best, ())
    lifter = load_lifter(best, device=CPU)
    assert (lifter.checkpoint, lifter.fingerprint) == (best, "cd34")
    assert set(load_checkpoint(extract_weights(best, tmp_path / "model")).state) == {"pose_net"}


def test_a_root_that_cannot_be_written_is_told_without_secrets(
    s3: S3Server, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_writable(root)
    assert not s3.keys(key(s3, root))
    with pytest.raises(CheckpointError, match=r"NO_SUCH_BUCKET.*check that the bucket exists"):
        check_writable("s3://no-such-bucket/x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(CheckpointError, match=r"endpoint \(AWS_ENDPOINT_URL") as caught:
        check_writable(root)
    assert s3.secret not in str(caught.value)


def test_a_store_that_is_out_of_reach_is_not_taken_for_an_empty_one(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    CheckpointStore(root).save(FINGERPRINT, "last", state(1.0), {})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(CheckpointError, match=r"cannot read checkpoint s3://.*NETWORK_CONNECTION"):
        CheckpointStore(root).find(FINGERPRINT, "last")
    with pytest.raises(ConnectionError, match="NETWORK_CONNECTION"):
        extract_weights(f"{root}/{FINGERPRINT}/last.ckpt", Path("unused"))


def test_a_bucket_that_must_not_be_listed_is_refused_at_once(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_without_listing() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(CheckpointError, match=r"is not there: .*grant s3:ListBucket"):
            check_writable(root)
