"""Under which name a model is registered."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["model_name"]

MAX_CHARACTERS = 40
OWN_DATA = "poses"


def model_name(backbone: str, dataset: str, own_name: str) -> str:
    """`sealpose-<backbone>-<data>`: figures of different data are no rivals.

    Args:
        backbone: Name of the pose-net.
        dataset: What `--dataset` said.
        own_name: What the data call themselves, which tells own data apart.

    Returns:
        The name; of own data with their name in lower case, digits and `-`, shortened.
    """
    data = _slug(own_name) or OWN_DATA if dataset == OWN_DATA else dataset
    return f"sealpose-{backbone}-{data}"


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:MAX_CHARACTERS].strip("-")
