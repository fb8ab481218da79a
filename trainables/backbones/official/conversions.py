"""Every backbone's conversion of published checkpoints, in one table.

The names of all of them are written from memory of the authors' codes: there was no published
file to check them against. A file with other names is refused, with the differences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from torch import Tensor

from trainables.backbones.official import sizes
from trainables.backbones.official.d3dp import OFFICIAL_BUFFERS, convert_d3dp, names_in_d3dp
from trainables.backbones.official.ktpformer import convert_ktpformer, names_in_ktpformer
from trainables.backbones.official.mixste import convert_mixste, names_in_mixste
from trainables.backbones.official.motionagformer import (
    convert_motionagformer,
    names_in_motionagformer,
)
from trainables.backbones.official.poseformerv2 import convert_poseformerv2, names_in_poseformerv2
from trainables.backbones.official.pstmo import convert_pstmo, names_in_pstmo
from trainables.backbones.official.semgcn import convert_semgcn, names_in_semgcn
from trainables.backbones.official.simplebaseline import (
    convert_simplebaseline,
    names_in_simplebaseline,
)
from trainables.backbones.official.videopose import convert_videopose, names_in_videopose
from trainables.config import BackboneName, DatasetName

__all__ = ["CONVERSIONS", "Conversion"]

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Conversion:
    """How a net's published checkpoints become ours.

    Attributes:
        names: Our name by official name of all entries, for the depths of a checkpoint.
        convert: Official entries to a state of our net, strictly.
        sizes: Joints and options, of the converted and the official entries.
        entries: Entries of a published file that may hold the parameters.
        dropped: Official names that are left out: we compute them.
        options: Options beyond the sizes that published checkpoints need.
        fields: Fields of the configuration by which their authors test.
        dataset: Data set of the published nets; None where they have another unit on each, so that
            the user has to say which.
        needs: Options that shapes do not tell and the user has to give.
        assumed: Options that shapes do not tell and that stay at the published value.
        differences: What to know of the release, one line each.
    """

    names: Callable[[State], Mapping[str, str]]
    convert: Callable[[State], dict[str, Tensor]]
    sizes: Callable[[State, State], sizes.Sizes]
    entries: tuple[str, ...] = ("model_pos",)
    dropped: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    dataset: DatasetName | None = "h36m"
    needs: Mapping[str, str] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()

    def fits(self, state: State) -> bool:
        """Whether the names are this net's."""
        return set(self.names(state)) == set(state) - set(self.dropped)


_ON_TEST = {"select_on": "test"}  # all but VideoPose3D publish the epoch that tests best
_WINDOWS_TWICE = (
    "the release counts frames of overlapping windows twice in its averages; here each frame "
    "counts once"
)

CONVERSIONS: Mapping[BackboneName, Conversion] = MappingProxyType(
    {
        "videopose": Conversion(
            names=names_in_videopose,
            convert=convert_videopose,
            sizes=sizes.sizes_of_videopose,
            fields={"eval_flip": True},
            differences=(
                "tested with flipping (eval_flip=true), as its authors do; our default for "
                "single frames is none",
            ),
        ),
        "simplebaseline": Conversion(
            names=names_in_simplebaseline,
            convert=convert_simplebaseline,
            sizes=sizes.sizes_of_simplebaseline,
            entries=("state_dict",),
            fields=_ON_TEST,
            differences=(
                "a hip that the release leaves out is predicted as exactly 0 here; its figures "
                "may be means over the other joints",
            ),
        ),
        "semgcn": Conversion(
            names=names_in_semgcn,
            convert=convert_semgcn,
            sizes=sizes.sizes_of_semgcn,
            entries=("state_dict",),
            fields=_ON_TEST,
            differences=(
                "the release subtracts its predicted root before it measures; here the pose is "
                "measured as it is predicted",
            ),
        ),
        "mixste": Conversion(
            names=names_in_mixste,
            convert=convert_mixste,
            sizes=sizes.sizes_of_mixste,
            fields=_ON_TEST,
            assumed=("heads",),
            differences=(_WINDOWS_TWICE,),
        ),
        "pstmo": Conversion(
            names=names_in_pstmo,
            convert=convert_pstmo,
            sizes=sizes.sizes_of_pstmo,
            options={"centred": False},
            fields=_ON_TEST,
            dataset=None,
            needs={"strides": "the strides of its strided layers, as [3,3,3]"},
            assumed=("heads",),
            differences=(
                "strided layers keep the first of the tokens that they merge (centred=false), as "
                "released",
                "the release's Human3.6M nets see every 2nd frame: set data.stride=2 for them",
            ),
        ),
        "poseformerv2": Conversion(
            names=names_in_poseformerv2,
            convert=convert_poseformerv2,
            sizes=sizes.sizes_of_poseformerv2,
            fields=_ON_TEST,
            dataset=None,
            needs={"frames": "the frames of its window, 27, 81 or 243 as published"},
            assumed=("heads",),
            differences=(
                "the tokens are split at half of their number (split_at_half), as released, "
                "which matters where kept frames and coefficients differ",
            ),
        ),
        "d3dp": Conversion(
            names=names_in_d3dp,
            convert=convert_d3dp,
            sizes=sizes.sizes_of_d3dp,
            dropped=OFFICIAL_BUFFERS,
            fields=_ON_TEST,
            assumed=("heads",),
            differences=(
                "hypotheses come from noise that all clips and calls share, so that they are a "
                "function of the input; the release draws anew",
                "on MPI-INF-3DHP its authors use the annotation of true size, "
                "data.annotation=annot3",
                _WINDOWS_TWICE,
            ),
        ),
        "ktpformer": Conversion(
            names=names_in_ktpformer,
            convert=convert_ktpformer,
            sizes=sizes.sizes_of_ktpformer,
            fields=_ON_TEST,
            assumed=("heads",),
            differences=(
                "the names of the first stage (KPA, TPA) are a guess; the deterministic net only",
                _WINDOWS_TWICE,
            ),
        ),
        "motionagformer": Conversion(
            names=names_in_motionagformer,
            convert=convert_motionagformer,
            sizes=sizes.sizes_of_motionagformer,
            entries=("model",),
            options={"graph": "official"},
            fields=_ON_TEST,
            dataset="mpi_inf_3dhp",
            assumed=("heads", "neighbours"),
            differences=(
                "the graph of the joints is the release's (graph=official): Human3.6M's order on "
                "every data set, three segments one way only; ours is the skeleton's tree",
                "the release multiplies TS5 and TS6 by 960 instead of 1024, 6 % less; here all "
                "sequences have output_scale=1.024 metres",
                "its Human3.6M nets give poses in the scale of the image, and take a detector's "
                "confidence, which is 1 here: only MPI-INF-3DHP's give metres",
            ),
        ),
    }
)
"""By backbone."""
