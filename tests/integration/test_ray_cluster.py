"""Nodes that come, nodes that are killed, two runs at once, and machines without memory left."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from tests.tuner.adapters import ray_toys
from tests.tuner.adapters.ray_toys import ListFeed, Recorder, request
from tuner.adapters.ray_placement import Placement, Slot
from tuner.adapters.ray_runner import RayTuneRunner
from tuner.adapters.ray_session import RaySession
from tuner.errors import ConfigurationError
from tuner.ports import Decision
from tuner.records import EpochReport, OutcomeKind

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
POOL = {"pool": "trials"}

ray.cloudpickle.register_pickle_by_value(ray_toys)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head without CPUs, and one node that runs one trial; this process has joined."""
    head = {"num_cpus": 0, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(num_cpus=1, labels=POOL)
    yield made
    made.shutdown()


def runner_on(address: str, folder: Path, **options: Any) -> RayTuneRunner:
    given = {"placement": Placement(Slot(1.0), labels=POOL), **options}
    return RayTuneRunner(
        trainable=ray_toys.ToyTrainable,
        dataset=None,
        checkpoint_root=folder / "checkpoints",
        scratch=folder / "scratch",
        session=RaySession(address),
        **given,
    )


class Disturber(Recorder):
    """Adds a node in the first trial, and kills it in the trial that it runs."""

    cluster: Cluster
    node: Any = None
    killed = False

    def on_epoch(self, stage: str, report: EpochReport) -> Decision:
        decision = super().on_epoch(stage, report)
        if self.node is None:
            self.node = self.cluster.add_node(num_cpus=1, labels=POOL)
        elif report.trial == 1 and report.epoch == 2 and not self.killed:
            self.killed = True
            self.cluster.remove_node(self.node, allow_graceful=False)
        return decision


def test_a_new_node_is_used_and_a_lost_one_costs_no_retry(
    cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Disturber()
    seen.cluster = cluster
    feed = ListFeed([request(trial, epochs=12, step_s=0.5) for trial in range(2)])

    runner = runner_on(cluster.address, tmp_path, max_failures=0)
    with runner, caplog.at_level(logging.WARNING, logger="tuner"):
        runner.run(feed, seen)

    assert seen.killed
    assert seen.most_at_once == 2, "the second trial ran on the node that came"
    assert seen.kinds() == {0: OutcomeKind.COMPLETED, 1: OutcomeKind.COMPLETED}
    assert {n: o.attempts for n, o in seen.outcomes.items()} == {0: 1, 1: 2}
    assert {n: o.value for n, o in seen.outcomes.items()} == {0: -2.0, 1: -1.0}
    assert "attempt 1 ended (node lost) and is tried again from its last checkpoint" in caplog.text
    epochs = [epoch for trial, epoch in seen.epochs if trial == 1]
    assert sorted(set(epochs)) == list(range(1, 13))
    assert epochs.count(1) == 1, "it did not begin anew"


def test_what_fits_on_no_node_is_refused_with_what_there_is(
    cluster: Cluster, tmp_path: Path
) -> None:
    placement = Placement(Slot(1.0), {"alpha": Slot(1.0, 0.5)}, {"pool": "other"})
    feed = ListFeed([request(0)])

    with (
        runner_on(cluster.address, tmp_path, placement=placement) as runner,
        pytest.raises(ConfigurationError, match=r"(?s)pool=other.*1 CPUs .*pool=trials.*alpha"),
    ):
        runner.run(feed, Recorder())
    assert feed.given == 0


def test_a_second_run_gets_its_part_while_the_first_goes_on(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.add_node(num_cpus=1, labels=POOL)
    words = [sys.executable, "-m", "tests.integration.ray_driver", str(tmp_path / "first"), "0.1"]
    first = subprocess.Popen(
        [*words, cluster.address, "10000"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout is not None
        started = 0
        for line in first.stdout:
            started += line.startswith("started")
            if started == 2:
                break
        seen = Recorder()
        feed = ListFeed([request(trial, epochs=2) for trial in range(4)])
        with runner_on(cluster.address, tmp_path / "second") as runner:
            runner.run(feed, seen)
        assert seen.most_at_once == 1
        assert set(seen.kinds().values()) == {OutcomeKind.COMPLETED}
        assert first.poll() is None, "the first run still has thousands of trials"
    finally:
        first.kill()
        first.communicate()


def test_a_worker_killed_for_want_of_memory_is_retried_with_fewer_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = _memory_mib()
    # Ray kills at 3 GiB more than is used now; the trial takes 4
    limit = (memory["MemTotal"] - memory["MemAvailable"] + 3072) / memory["MemTotal"]
    if limit > 0.8:
        pytest.skip("this machine has too little free memory to run out of it safely")
    settings = {"memory_usage_threshold": limit, "memory_monitor_refresh_ms": 200}
    head = {"num_cpus": 2, "include_dashboard": False, "_system_config": settings}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        seen = Recorder()
        hungry = request(0, "eats_memory_once", eats_mib=4096)
        feed = ListFeed([hungry, request(1, epochs=20, step_s=0.3), request(2, epochs=1)])
        runner = runner_on(cluster.address, tmp_path, placement=None, max_failures=1)
        with runner, caplog.at_level(logging.WARNING, logger="tuner"):
            runner.run(feed, seen)
    finally:
        cluster.shutdown()
    assert set(seen.kinds().values()) == {OutcomeKind.COMPLETED}
    assert seen.outcomes[0].attempts == 2
    assert "(out of memory) and is tried again" in caplog.text
    assert "from now on at most 1 trials run at once" in caplog.text


def _memory_mib() -> dict[str, float]:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
