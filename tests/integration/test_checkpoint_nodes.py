"""Nodes that cannot use the store of the checkpoints are named before the first trial."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from tests.integration.s3_server import s3_server, s3_without_listing
from tuner.adapters.ray_placement import Placement, Slot
from tuner.adapters.ray_session import RaySession
from tuner.errors import ConfigurationError
from tuner.greedy_config import GreedyConfig
from tuner.settings import Locations, resolve_locations
from tuner.wiring.checkpoint_nodes import check_root_on_nodes

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(180)]

TRIALS = {"pool": "trials"}
STRANGER = {"pool": "stranger"}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head without CPUs, a node that the driver's store lets in, and one that it does not."""
    with s3_server() as s3, s3_without_listing() as other, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in s3.variables.items():
            patch.setenv(name, value)
        strangers = {**s3.variables, "AWS_ENDPOINT_URL": other}
        head = {"num_cpus": 0, "include_dashboard": False, "env_vars": strangers}
        made = Cluster(initialize_head=True, head_node_args=head)
        made.add_node(num_cpus=1, labels=TRIALS, node_name="good")
        made.add_node(num_cpus=1, labels=STRANGER, node_name="bad", env_vars=strangers)
        yield made
        made.shutdown()


@pytest.fixture
def locations(tmp_path: Path) -> Locations:
    return resolve_locations(home=tmp_path / "home")


def test_only_nodes_that_may_get_trials_are_asked_and_the_bad_one_is_named(
    cluster: Cluster, locations: Locations, tmp_path: Path
) -> None:
    config = GreedyConfig(backbone="videopose", name="demo", checkpoint_root="s3://checkpoints/x")
    with RaySession(cluster.address) as session:
        assert not session.private
        check_root_on_nodes(config, locations, session, Placement(Slot(1.0), labels=TRIALS))
        with pytest.raises(ConfigurationError) as caught:
            check_root_on_nodes(config, locations, session, Placement(Slot(1.0)))
        message = str(caught.value)
        assert message.startswith("checkpoints at s3://checkpoints/x/demo cannot be used by node ")
        assert message.count("(bad, ") == 1
        assert "(good, " not in message
        assert "ACCESS_DENIED" in message
        assert message.endswith("when its Ray is started")

        folder = GreedyConfig(
            backbone="videopose", name="demo", checkpoint_root=str(tmp_path / "points")
        )
        check_root_on_nodes(folder, locations, session, Placement(Slot(1.0)))
        assert list((tmp_path / "points" / "demo").iterdir()) == []
