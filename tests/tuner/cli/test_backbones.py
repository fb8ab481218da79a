from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from trainables.config import BackboneName

Call = Callable[..., Any]


def test_backbones_are_counted_at_the_paper_s_sizes(call: Call) -> None:
    rows = {row["name"]: row for row in call("backbones", "--json").json()}
    assert set(rows) == set(get_args(BackboneName))
    assert rows["videopose"]["parameters"] == 4_291_635
    assert rows["simplebaseline"]["parameters"] == 4_296_755
    assert (rows["videopose"]["frames"], rows["videopose"]["joints"]) == (1, 17)


def test_backbones_for_people(call: Call) -> None:
    done = call("backbones")
    assert done.code == 0
    assert "4,291,635" in done.out
