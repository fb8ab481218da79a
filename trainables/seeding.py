"""Seeds derived by name, isolated random streams, deterministic algorithms."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["derive_seed", "generator", "isolated_rng", "make_deterministic", "seed_everything"]

_SEED_BITS = 63


def derive_seed(seed: int, *names: str | int) -> int:
    """Derive the seed of a named random stream.

    Streams with different names are independent, so that taking one away (the loss-net of a
    baseline, say) leaves every other as it was.

    Args:
        seed: Seed of the training.
        *names: Name of the stream, in parts; numbers (an epoch) count as their digits.

    Returns:
        A number in [0, 2**63), the same on every machine and in every process.
    """
    # unit separators keep ("a", "b") and ("ab",) apart
    text = "\x1f".join([str(seed), *(str(name) for name in names)])
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - _SEED_BITS)


def generator(seed: int, *names: str | int) -> torch.Generator:
    """Return a CPU generator at the start of a named stream (see `derive_seed`)."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))


@contextmanager
def isolated_rng(seed: int, device: torch.device) -> Iterator[None]:
    """Run a block on its own global torch stream, and restore the caller's afterwards.

    Dropout and parameter initialisation can only draw from torch's global stream. Within this
    block that stream starts at `seed`; outside nothing is noticed.

    Args:
        seed: Seed of the block.
        device: Device whose stream is isolated beside the CPU's.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices, device_type="cuda"):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's global streams from one seed.

    Training draws from named streams only; this closes the door for everything else that runs
    in a worker process which earlier trials used.
    """
    random.seed(derive_seed(seed, "python"))
    np.random.seed(derive_seed(seed, "numpy") % 2**32)
    torch.manual_seed(derive_seed(seed, "torch"))


def make_deterministic() -> None:
    """Ask torch for algorithms that give the same bits each time, on CPU and CUDA."""
    # read by cuBLAS when its first handle is created; without it torch refuses its products
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
