"""The trainer on CUDA: as on the CPU, and resumed with the same bits."""

from __future__ import annotations

import pytest
import torch

from tests.trainables.seal.test_trainer import CPU, MakeConfig, assert_same_bits, figures
from trainables.data.dataset import PoseDataset
from trainables.seal.trainer import SealTrainer


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    # single precision: tensor cores round products to 10 bits, and steps add up
    # absolute: mean energies are small differences of larger numbers
    ("dtype", "relative", "absolute"),
    [(torch.float64, 1e-6, 1e-8), (torch.float32, 0.02, 0.005)],
)
@pytest.mark.parametrize("loss_net", ["graph", "mlp"])
def test_cuda_follows_the_cpu(
    make_config: MakeConfig,
    tiny_dataset: PoseDataset,
    loss_net: str,
    dtype: torch.dtype,
    relative: float,
    absolute: float,
) -> None:
    # without dropout, whose random streams differ between devices
    options = {"channels": 32, "dropout": 0.0}
    config = make_config(loss_net=loss_net, backbone_options=options, energy_poses=4)
    on_cpu = SealTrainer(config, tiny_dataset, device=CPU, dtype=dtype)
    on_cuda = SealTrainer(config, tiny_dataset, device=torch.device("cuda", 0), dtype=dtype)
    for _ in range(2):
        expected, result = figures(on_cpu.run_epoch()), on_cuda.run_epoch()
        assert result["peak_memory_mb"] > 0
        found = {name: result[name] for name in expected}
        assert found == pytest.approx(expected, rel=relative, abs=absolute)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("loss_net", ["graph", "mlp"])
def test_cuda_resumes_with_the_same_bits(
    make_config: MakeConfig, tiny_dataset: PoseDataset, loss_net: str, dtype: torch.dtype
) -> None:
    options = {"channels": 32, "dropout": 0.25}
    config = make_config(loss_net=loss_net, backbone_options=options, energy_poses=4)
    cuda = torch.device("cuda", 0)
    undisturbed = SealTrainer(config, tiny_dataset, device=cuda, dtype=dtype)
    undisturbed.run_epoch()
    resumed = SealTrainer(config, tiny_dataset, device=cuda, dtype=dtype)
    resumed.load_state_dict(undisturbed.state_dict())
    torch.rand(5, device=cuda)
    assert figures(resumed.run_epoch()) == figures(undisturbed.run_epoch())
    assert_same_bits(resumed.state_dict(), undisturbed.state_dict())
