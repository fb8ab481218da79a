"""Split rules on tables, and as properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.data.h36m_splits import assign_splits, held_out_recordings, natural_key
from trainables.errors import DataError


def test_names_sort_as_people_count() -> None:
    names = ["walking 10", "walking", "walking 2", "S11", "S9"]
    assert sorted(names, key=natural_key) == ["S9", "S11", "walking", "walking 2", "walking 10"]


@pytest.mark.parametrize(
    ("sources", "held_out"),
    [
        ([], set()),
        (["a/1"], set()),
        (["a/1", "a/2"], {"a/2"}),
        (["a/1", "a/2", "b/1"], {"a/2"}),
        ([f"a/{number}" for number in range(1, 6)], {"a/3"}),
        ([f"a/{number}" for number in range(1, 11)], {"a/3", "a/8"}),
    ],
)
def test_about_every_fifth_recording_of_a_kind_is_held_out(
    sources: list[str], held_out: set[str]
) -> None:
    assert held_out_recordings(sources) == held_out


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["S1", "S5", "S6"]), st.integers(0, 9).map(str)),
        st.tuples(st.sampled_from("ab"), st.integers(0, 6)).map(lambda t: f"{t[0]}/{t[1]}"),
        min_size=1,
    )
)
def test_no_recording_trains_and_validates(sources: dict[tuple[str, str], str]) -> None:
    keys = [*sources, ("S9", "walk")]
    if len({subject for subject, _ in sources}) < 2 and not held_out_recordings(sources.values()):
        with pytest.raises(DataError, match="one of which validates"):
            assign_splits(keys, sources)
        return
    splits, _ = assign_splits(keys, sources)
    assert set(splits) == set(keys)
    assert splits["S9", "walk"] == "test"
    by_split = {
        name: {key for key, split in splits.items() if split == name} for name in ("train", "val")
    }
    assert by_split["train"]
    assert by_split["val"]
    recordings = {n: {sources[key] for key in keys} for n, keys in by_split.items()}
    bodies = {n: {key[0] for key in keys} for n, keys in by_split.items()}
    assert not recordings["train"] & recordings["val"] or not bodies["train"] & bodies["val"]


def test_a_recording_of_unknown_origin_falls_back_to_a_subject() -> None:
    keys = [("S1", "a"), ("S5", "a"), ("S8", "a"), ("S9", "a")]
    splits, note = assign_splits(keys, {("S1", "a"): "x/1"})
    assert [splits[key] for key in keys] == ["train", "train", "val", "test"]
    assert "subject S8" in note
