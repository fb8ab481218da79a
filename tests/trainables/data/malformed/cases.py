"""All malformed inputs."""

from __future__ import annotations

from tests.trainables.data.malformed.case import Case
from tests.trainables.data.malformed.containers import CONTAINERS
from tests.trainables.data.malformed.contents import CONTENTS
from tests.trainables.data.malformed.other_sets import OTHER_SETS
from tests.trainables.data.malformed.pickles import PICKLES

__all__ = ["CASES"]

CASES: tuple[Case, ...] = (*CONTAINERS, *CONTENTS, *PICKLES, *OTHER_SETS)
"""The table, in the order in which it is printed."""
