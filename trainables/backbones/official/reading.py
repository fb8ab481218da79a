"""Reading the files that nets' authors published; no code in them is ever run.

The one place where a foreign file meets torch's reader, which is told to take plain values only.
VideoPose3D's successors also keep the state of NumPy's random numbers in their files, or figures
as NumPy's scalars: these few names, and no others, become `_LeftOut`, which ignores all it is
given, so that nothing of NumPy is called and the rest of such a file can be read.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainables.backbones.official._renaming import without_module_prefix
from trainables.errors import CheckpointError
from trainables.names import first_few, printable

__all__ = ["PublishedWeights", "read_published"]

_WRAPPERS = ("model_pos", "state_dict", "model", "model_state_dict", "net")
_LEFT_OUT_NAMES = (
    *("numpy.random.__RandomState_ctor", "numpy.random._pickle.__randomstate_ctor"),
    *("numpy.random._pickle.__bit_generator_ctor", "numpy.random._mt19937.MT19937"),
    *("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"),
    *("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"),
    *("numpy.ndarray", "numpy.dtype"),
)
_MOST_BYTES = 8 * 10**9
"""Of a file; published nets have 0.1 to 2·10^8 bytes, and a file is held in memory twice."""

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
_COUNTS = "num_batches_tracked"
_REFUSED = re.compile(r"GLOBAL ([\w.]+)")


class _LeftOut:
    """Stands for a value of NumPy that is not looked at."""

    def __new__(cls, *_values: object) -> _LeftOut:
        return super().__new__(cls)

    def __init__(self, *_values: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass


@dataclass(frozen=True)
class PublishedWeights:
    """The parameters in a file.

    Attributes:
        state: Parameters and statistics under their official names, without `module.`.
        sha256: Of the file.
        entry: Entry of the file that they are; None if the file holds nothing else.
        left_out: The file's other entries.
    """

    state: Mapping[str, Tensor]
    sha256: str
    entry: str | None = None
    left_out: tuple[str, ...] = ()


def read_published(path: Path, entries: Sequence[str] = ()) -> PublishedWeights:
    """Read the parameters in a file that torch wrote.

    Args:
        path: The file.
        entries: Entries that may hold the parameters, before those that any file is searched for.

    Raises:
        CheckpointError: If the file is missing, too large or damaged, asks for more than plain
            values, claims more than it holds, or holds no parameters.
    """
    content = _content(path)
    _check_unpacked(path, content)
    found = _load(path, content)
    if not isinstance(found, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(found).__name__}, expected parameters by name"
        )
    entry, state = _parameters(path, found, entries)
    _check_plain(path, state)
    _check_held(path, state, len(content))
    _check_finite(path, state)
    return PublishedWeights(
        state=without_module_prefix(state),
        sha256=hashlib.sha256(content).hexdigest(),
        entry=entry,
        left_out=tuple(printable(str(name)) for name in found if name != entry) if entry else (),
    )


def _content(path: Path) -> bytes:
    """All of a regular file; pipes and devices may have no end, and are not opened."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise CheckpointError(
                f"cannot read {path}: it is a folder, a pipe or a device, expected a file"
            )
        if size > _MOST_BYTES:
            raise CheckpointError(
                f"{path} has {size:,} bytes, expected at most {_MOST_BYTES:,}: it is read into "
                "memory as a whole, and no published net comes near; take the parameters out of it"
            )
        return path.read_bytes()
    except OSError as err:
        raise CheckpointError(f"cannot read {path}: {err.strerror or err}") from err
    except MemoryError as err:
        raise _too_large(path, size) from err


def _too_large(path: Path, size: int) -> CheckpointError:
    return CheckpointError(
        f"{path} ({size:,} bytes) does not fit into this machine's memory, which has to hold it "
        "twice; take the parameters out of it on a larger one"
    )


def _check_unpacked(path: Path, content: bytes) -> None:
    """Refuse archives that would unpack to more than they are; torch never compresses any."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except Exception as err:  # of many kinds, for a table of contents that is made to mislead
        raise CheckpointError(f"{path} is damaged or truncated ({type(err).__name__})") from err
    if unpacked > len(content):
        raise CheckpointError(
            f"{path} has {len(content):,} bytes but would unpack to {unpacked:,}; torch "
            "compresses nothing, so that this is no file that it wrote"
        )


def _load(path: Path, content: bytes) -> Any:
    stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (_LeftOut, name) for name in _LEFT_OUT_NAMES
    ]
    try:
        # torch warns of old or unusual files, of which a user can do nothing about
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(stand_ins):
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except MemoryError as err:
        raise _too_large(path, len(content)) from err
    except Exception as err:
        refused = _REFUSED.search(str(err))
        if refused:
            raise CheckpointError(
                f"{path} asks for {printable(refused[1])}, which could run code; refused, and "
                "nothing of it was run. Only if you trust its authors, take out the parameters "
                "in a container without network: f = torch.load(FILE, weights_only=False); "
                "torch.save(f['model_pos'], 'weights.pt'), or what the entry is called, and "
                "import weights.pt"
            ) from err
        raise CheckpointError(
            f"{path} is damaged, truncated, or no file of parameters that torch wrote "
            f"({type(err).__name__})"
        ) from err


def _parameters(
    path: Path, found: Mapping[Any, Any], entries: Sequence[str]
) -> tuple[str | None, dict[str, Tensor]]:
    """The entry with the parameters, and these; all of the file is that, if it holds no other."""
    if _is_state(found):
        return None, dict(found)
    for name in dict.fromkeys((*entries, *_WRAPPERS)):
        if isinstance(found.get(name), Mapping):
            if _is_state(found[name]):
                return name, dict(found[name])
            raise CheckpointError(
                f"{path}: its entry {name!r} holds something else than tensors by name"
            )
    raise CheckpointError(
        f"{path} has no entry {' or '.join(_WRAPPERS)}, and is no parameters by name itself; it "
        f"holds: {first_few([str(name) for name in found]) or 'nothing'}"
    )


def _is_state(found: Mapping[Any, Any]) -> bool:
    return bool(found) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()
    )


def _check_plain(path: Path, state: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are no plain floating-point numbers, or counts that are no integers."""
    for name, value in state.items():
        if value.is_meta or value.layout != torch.strided or value.is_quantized:
            raise CheckpointError(
                f"{path}: {printable(name)} is no plain tensor of numbers ({value.dtype}, "
                f"{value.layout}, on {value.device})"
            )
        counts = name.rpartition(".")[2] == _COUNTS
        if value.dtype not in (_INTEGERS if counts else _FLOATS):
            raise CheckpointError(
                f"{path}: {printable(name)} has the type {value.dtype}, expected "
                f"{'integers' if counts else 'floating-point numbers of 16 to 64 bits'}"
            )


def _check_held(path: Path, state: Mapping[str, Tensor], size: int) -> None:
    """Refuse tensors that repeat what the file holds once: small files would fill the memory."""
    claimed = 0
    for name, value in state.items():
        claims, holds = value.numel() * value.itemsize, value.untyped_storage().nbytes()
        if claims > holds:
            raise CheckpointError(
                f"{path}: {printable(name)} claims shape {tuple(value.shape)}, {claims:,} bytes, "
                f"but the file holds {holds:,} of them; expected tensors that repeat nothing"
            )
        claimed += claims
    if claimed > size:
        raise CheckpointError(
            f"{path}: its {len(state)} tensors claim {claimed:,} bytes, but the file has "
            f"{size:,}; expected tensors that share nothing"
        )


def _check_finite(path: Path, state: Mapping[str, Tensor]) -> None:
    for name, value in state.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{path}: {printable(name)} holds NaN or infinity")
