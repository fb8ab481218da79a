"""`tuner import-weights` of files whose sizes or values are beyond what a net can have."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.trainables.backbones.official.published import PUBLISHED
from tests.tuner.cli.conftest import Call
from tests.tuner.cli.test_import_weights import import_, nothing_written, write


def test_a_small_file_does_not_become_a_large_net(call: Call, tmp_path: Path) -> None:
    """Whatever sizes one tensor tells, and whether it holds them or only claims to."""
    state = PUBLISHED["mixste"].state()
    table = torch.zeros(1).expand(1, 10**7, 8)
    path = write(tmp_path / "a.bin", state | {"Temporal_pos_embed": table})
    done = import_(call, path, "mixste")
    assert done.code == 2
    assert "Temporal_pos_embed claims shape (1, 10000000, 8)" in done.err
    write(path, state | {"Temporal_pos_embed": torch.zeros(1, 5000, 8)})
    done = import_(call, path, "mixste")
    assert done.code == 2
    assert "frames would be 5000, expected at most 4096" in done.err
    wide = torch.zeros(10**6, 34, 1)  # a net of so many channels has 10^12 parameters
    write(path, PUBLISHED["videopose"].state() | {"expand_conv.weight": wide})
    done = import_(call, path, "videopose")
    assert done.code == 2
    assert "layers_conv.0.weight: (8, 8, 1), expected (1000000, 1000000, 1)" in done.err
    assert len(done.err.splitlines()) == 1
    assert nothing_written(path)


def test_values_that_the_net_s_type_cannot_hold_are_refused(call: Call, tmp_path: Path) -> None:
    state = PUBLISHED["mixste"].state()
    bias = state["head.1.bias"].double()
    path = write(tmp_path / "a.bin", state | {"head.1.bias": bias})
    assert import_(call, path, "mixste").code == 0
    bias[1] = 1e300
    write(path, state | {"head.1.bias": bias})
    done = import_(call, path, "mixste", "--to", "other")
    assert done.code == 2
    assert "head.1.bias has values beyond those of torch.float32" in done.err
    assert not Path("home/trainings/other").exists()
