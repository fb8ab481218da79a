"""A split as tensors on the device, handed out in copies."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.data.dataset import PoseDataset, PoseSplit, SequenceInfo
from trainables.errors import DataError

__all__ = ["DeviceSplit", "Poses", "load_split", "middle_frames", "require_split"]


_CLIPS_PER_CHUNK = 1 << 16


class Poses(NamedTuple):
    """Some poses, each a clip of T frames; copies, which may be written to.

    Attributes:
        x: Normalised screen coordinates, (B, T, J, 2).
        y: Root-relative joints, metres, (B, T, J, 3).
        action: Index of the action of each clip, (B,), int64.
        sequence: Index of its sequence in the data set, (B,), int64.
        frame: Frame number of its middle frame in the sequence's source, (B,), int64.
        valid: Whether that frame is scored, (B,), bool.
    """

    x: Tensor
    y: Tensor
    action: Tensor
    sequence: Tensor
    frame: Tensor
    valid: Tensor


def middle_frames(values: Tensor, count: int, *, dim: int = 1) -> Tensor:
    """The `count` frames in the middle of dimension `dim`."""
    return values.narrow(dim, (values.shape[dim] - count) // 2, count)


class DeviceSplit:
    """Poses of a split.

    On a CPU the tensors may be the memory of a data set that all trials of a machine share, and
    torch lets anybody write to it: they stay in here, and only copies get out.

    Args:
        x: Normalised screen coordinates, sequence after sequence, (N, 1, J, 2); never written.
        y: Root-relative joints, metres, (N, 1, J, 3); never written.
        sequence: Index of the sequence of each pose, (N,), int32; never written.
        frame: Frame number in the sequence's source, (N,), int32; never written.
        valid: Whether a pose is scored, (N,), bool; None where all are.
        sequences: What all sequences of the data set are, by their index.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        *,
        sequence: Tensor,
        frame: Tensor,
        valid: Tensor | None,
        sequences: Sequence[SequenceInfo],
    ) -> None:
        self._x, self._y = x, y
        self._sequence, self._frame, self._valid = sequence, frame, valid
        self._infos = tuple(sequences)
        self.action_names = tuple(sorted({info.base_action for info in sequences}))
        actions = [self.action_names.index(info.base_action) for info in sequences]
        self._action_of_sequence = torch.tensor(actions, device=x.device)
        self._borders: tuple[Tensor, Tensor] | None = None

    @classmethod
    def of_sequence(cls, x: Tensor) -> DeviceSplit:
        """Poses of a single sequence whose 3D is not known, (N, 1, J, 2), in order of time."""
        numbers = torch.arange(len(x), dtype=torch.int32, device=x.device)
        y = x.new_zeros(()).expand(*x.shape[:-1], 3)
        info = SequenceInfo("", "", "", "", None, fps=1.0)
        sequence = torch.zeros_like(numbers)
        return cls(x, y, sequence=sequence, frame=numbers, valid=None, sequences=(info,))

    def __len__(self) -> int:
        return len(self._x)

    @property
    def device(self) -> torch.device:
        """Where the poses are."""
        return self._x.device

    @property
    def num_actions(self) -> int:
        """Base actions of the whole data set."""
        return len(self.action_names)

    @property
    def sequence_names(self) -> tuple[str, ...]:
        """Names of the sequences of the whole data set, by their index."""
        # MPI-INF-3DHP's test sequences have one name for both
        takes = (
            info.action if info.action == info.subject else f"{info.subject} {info.action}"
            for info in self._infos
        )
        return tuple(f"{take} {info.view}" for take, info in zip(takes, self._infos, strict=True))

    @property
    def frame_step(self) -> int | None:
        """Distance of the numbers of consecutive frames: more than 1 in thinned data.

        None if there are loose poses, which do not follow one another.
        """
        if not self._ordered:
            return None
        same = self._sequence.diff() == 0
        steps = self._frame.diff()[same]
        return int(steps.min()) if len(steps) else 1

    @property
    def _ordered(self) -> bool:
        return all(info.ordered for info in self._infos)

    @property
    def all_scored(self) -> bool:
        """Whether no pose is context only."""
        return self._valid is None

    def scored_clips(self, middles: Tensor, frames: int, outputs: int) -> Tensor:
        """Those clips of which each frame that is lifted is scored.

        Args:
            middles: Middle frames, (C,), integers, on the CPU.
            frames: Frames of a clip.
            outputs: How many in its middle are lifted.

        Returns:
            Some of `middles`.
        """
        if self._valid is None:
            return middles
        kept = []
        for part in middles.split(_CLIPS_PER_CHUNK):
            index = part.long().to(self.device)[:, None]
            if frames > 1:
                index = middle_frames(self.clip_index(index[:, 0], frames), outputs)
            kept.append(part[self._valid[index].all(dim=1).cpu()])
        return torch.cat(kept)

    def gather(self, index: Tensor) -> Poses:
        """Copy poses.

        Args:
            index: Which, (B,), int64, on the split's device.
        """
        sequence = self._sequence[index].long()
        valid = torch.ones_like(sequence, dtype=torch.bool)
        return Poses(
            x=self._x[index],
            y=self._y[index],
            action=self._action_of_sequence[sequence],
            sequence=sequence,
            frame=self._frame[index].long(),
            valid=valid if self._valid is None else self._valid[index],
        )

    def gather_clips(self, index: Tensor, frames: int) -> Poses:
        """Copy clips of consecutive frames around poses.

        Args:
            index: The middle frames (of an even number, the one before the middle), (B,),
                int64, on the split's device.
            frames: Frames T; beyond an end of the sequence, or a gap in it, the last frame there
                is repeated.

        Returns:
            x (B, T, J, 2), y (B, T, J, 3); the other fields are the middle frame's.

        Raises:
            DataError: If poses do not follow one another in time, and T is more than 1.
        """
        if frames == 1:
            return self.gather(index)
        return self.gather_frames(self.clip_index(index, frames))

    def gather_frames(self, index: Tensor) -> Poses:
        """Copy clips by the positions of their frames, (B, T), int64, on the split's device."""
        middle = self.gather(index[:, (index.shape[1] - 1) // 2])
        return middle._replace(x=self.gather_x(index), y=self._y[index, 0])

    def gather_x(self, index: Tensor) -> Tensor:
        """Copy the 2D of clips by the positions of their frames, (B, T) to (B, T, J, 2)."""
        return self._x[index, 0]

    def clip_index(self, index: Tensor, frames: int) -> Tensor:
        """Positions in the split of the frames of clips, (B,) to (B, T); see `gather_clips`."""
        offsets = torch.arange(frames, device=self.device) - (frames - 1) // 2
        window = index[:, None] + offsets
        first, last = self._ends(index)
        return torch.minimum(torch.maximum(window, first[:, None]), last[:, None])

    def last_of_sequence(self, index: Tensor) -> Tensor:
        """Positions of the last frames of the sequences of poses, (B,) to (B,)."""
        return self._ends(index)[1]

    def sequence_spans(self) -> list[tuple[int, int]]:
        """Position of the first frame of each sequence without gaps, and its number of frames.

        Raises:
            DataError: If poses do not follow one another in time.
        """
        starts, lasts = self._spans()
        return [
            (first, last - first + 1)
            for first, last in zip(starts.tolist(), lasts.tolist(), strict=True)
        ]

    def _ends(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Positions of the first and the last frame of the sequence of each pose."""
        starts, lasts = self._spans()
        run = torch.searchsorted(starts, index, right=True) - 1
        return starts[run], lasts[run]

    def _spans(self) -> tuple[Tensor, Tensor]:
        """Positions of the first and the last frame of each run, (R,) each.

        A run is a sequence, or what is left of it between frames that are missing.
        """
        if not self._ordered:
            raise DataError(
                "these data are loose poses, which do not follow one another in time, so that no "
                "clips can be taken of them; set data.frames=1, and use a single-frame backbone"
            )
        if self._borders is None:
            begins = torch.ones(len(self), dtype=torch.bool, device=self.device)
            same = self._sequence.diff() == 0
            steps = self._frame.diff()
            begins[1:] = ~same | (steps != self._steps_of_sequences(same, steps))
            starts = begins.nonzero().squeeze(1)
            ends = torch.cat([starts[1:], starts.new_tensor([len(self)])])
            self._borders = starts, ends - 1
        return self._borders

    def _steps_of_sequences(self, same: Tensor, steps: Tensor) -> Tensor:
        """For each pose but the first the smallest step of its sequence, (N - 1,)."""
        number = self._sequence[1:].long()
        smallest = steps.new_full((len(self._infos),), torch.iinfo(steps.dtype).max)
        smallest.scatter_reduce_(0, number[same], steps[same], "amin")
        return smallest[number]

    def evenly_spaced(self, count: int | None) -> Tensor:
        """Positions of at most `count` poses, evenly spaced, int64; all for None."""
        size = len(self)
        taken = size if count is None else min(count, size)
        return torch.arange(taken, device=self.device) * size // taken


def load_split(
    dataset: PoseDataset,
    name: str,
    *,
    device: torch.device,
    dtype: torch.dtype,
    limit: int | None = None,
) -> DeviceSplit:
    """Bring a split to the device; on a CPU, in the arrays' own type, no pose is copied.

    Args:
        dataset: Where it comes from; its arrays are never written.
        name: Name of the split.
        device: Where to.
        dtype: Floating-point type of the poses.
        limit: At most so many poses, evenly spaced; only these are copied. None for all.

    Returns:
        The split.

    Raises:
        DataError: If the data set has no such split, or it is empty.
    """
    split = require_split(dataset, name)
    x, y, sequence, frame, valid = _evenly(split, limit)
    return DeviceSplit(
        _wrap(x).to(device, dtype).unsqueeze(1),
        _wrap(y).to(device, dtype).unsqueeze(1),
        sequence=_wrap(sequence).to(device),
        frame=_wrap(frame).to(device),
        valid=None if valid is None else _wrap(valid).to(device),
        sequences=dataset.sequences,
    )


def require_split(dataset: PoseDataset, name: str) -> PoseSplit:
    """A split that has poses.

    Raises:
        DataError: If the data set has no such split, or it is empty.
    """
    split = dataset.splits.get(name)
    if split is None or len(split) == 0:
        raise DataError(
            f"data set {dataset.name!r} has no poses in split {name!r}; "
            f"it has {', '.join(sorted(dataset.splits)) or 'no splits'}"
        )
    return split


class _Arrays(NamedTuple):
    """A split's arrays but its root positions."""

    x: NDArray[Any]
    y: NDArray[Any]
    sequence: NDArray[Any]
    frame: NDArray[Any]
    valid: NDArray[Any] | None


def _evenly(split: PoseSplit, limit: int | None) -> _Arrays:
    """The split's arrays; copied only if they are thinned."""
    size = len(split)
    arrays = _Arrays(split.x, split.y, split.sequence, split.frame, split.valid)
    if limit is None or limit >= size:
        return arrays
    index = np.arange(limit, dtype=np.int64) * size // limit
    valid = None if arrays.valid is None else arrays.valid[index]
    x, y, sequence, frame = (array[index] for array in arrays[:4])
    return _Arrays(x, y, sequence, frame, valid)


def _wrap(array: NDArray[Any]) -> Tensor:
    """The array's own memory as a tensor, read-only or not: never write to the result."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(array))
