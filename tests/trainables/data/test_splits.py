"""Split rules on tables, and as properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.data.splits import (
    SequenceKey,
    assign_splits,
    base_action,
    held_out_recordings,
    hold_out_validation,
    splits_in_use,
)
from trainables.errors import DataError
from trainables.names import first_few, natural_key

TEST = ("S9", "S11")


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
        (["a/1", "b/1"], {"b/1"}),
        (["walk", "run"], {"walk"}),
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
        st.tuples(st.sampled_from("abcd"), st.integers(0, 6)).map(lambda t: f"{t[0]}/{t[1]}"),
        min_size=1,
    )
)
def test_no_recording_trains_and_validates(sources: dict[tuple[str, str], str]) -> None:
    known = {**sources, ("S9", "walk"): "test/walk/1"}
    if len(set(sources.values())) < 2:
        with pytest.raises(DataError, match="expected two or more, one of which validates"):
            assign_splits(known, known, test_subjects=TEST)
        return
    splits, note = assign_splits(known, known, test_subjects=TEST)
    assert set(splits) == set(known)
    recordings = {
        name: {known[key] for key, split in splits.items() if split == name}
        for name in ("train", "val", "test")
    }
    assert all(recordings.values())
    assert not recordings["train"] & recordings["val"]
    assert recordings["test"] == {"test/walk/1"}
    assert note.startswith(f"validation: {len(recordings['val'])} recordings")


KEYS = [("S1", "a"), ("S5", "a"), ("S8", "a"), ("S9", "a")]


def test_without_a_table_a_subject_is_held_out_and_the_note_says_what_is_not_known() -> None:
    splits, note = assign_splits(KEYS, {}, test_subjects=TEST)
    assert [splits[key] for key in KEYS] == ["train", "train", "val", "test"]
    assert "subject S8" in note
    assert "would not be noticed" in note


@pytest.mark.parametrize(
    ("without", "message"),
    [
        ([2], r"no row for 1 of 4 sequences: S8 'a'; expected the source of each"),
        ([3], r"no row for 1 of 4 sequences: S9 'a';"),
        ([0, 1, 3], r"no row for 3 of 4 sequences: S1 'a', S5 'a', S9 'a';"),
    ],
)
def test_a_table_that_lacks_a_sequence_is_refused(without: list[int], message: str) -> None:
    sources = {key: f"x/{i}" for i, key in enumerate(KEYS) if i not in without}
    with pytest.raises(DataError, match=message):
        assign_splits(KEYS, sources, test_subjects=TEST)


def test_a_named_subject_validates_and_its_recordings_train_nobody() -> None:
    sources = dict(zip(KEYS, ("walk", "run", "walk", "jump"), strict=True))
    splits, note = assign_splits(KEYS, sources, test_subjects=TEST, val_subject="S1")
    assert splits == {("S1", "a"): "val", ("S5", "a"): "train", ("S9", "a"): "test"}
    assert "subject S1" in note
    assert "1 sequences of others show the same recordings and are left out" in note


@pytest.mark.parametrize(
    ("val_subject", "message"),
    [
        ("S9", r"val_subject='S9' is no training subject; found S1, S5, S8"),
        ("S1", r"val_subject='S1' shares its recordings with all training sequences"),
    ],
)
def test_a_subject_that_cannot_validate_is_refused(val_subject: str, message: str) -> None:
    sources = dict.fromkeys(KEYS, "walk")
    with pytest.raises(DataError, match=message):
        assign_splits(KEYS, sources, test_subjects=TEST, val_subject=val_subject)


@pytest.mark.parametrize(
    ("action", "base"),
    [
        ("Walking", "Walking"),
        ("Walking 1", "Walking"),
        ("SittingDown 12", "SittingDown"),
        ("directing_traffic 2", "directing_traffic"),
        ("take5", "take5"),
        ("7", "7"),
    ],
)
def test_the_number_of_a_take_is_no_part_of_the_action(action: str, base: str) -> None:
    assert base_action(action) == base


def test_messages_name_the_first_few_and_count_the_rest() -> None:
    assert first_few(["a", "b"]) == "a, b"
    assert first_few(list("abcde")) == "a, b, c, d, e"
    assert first_few(list("abcdefg")) == "a, b, c, d, e and 2 more"


@pytest.mark.parametrize("sources", [{}, {key: "any" for key in KEYS if key[0] not in TEST}])
def test_nobody_validates(sources: dict[SequenceKey, str]) -> None:
    """Not even two training subjects or recordings are needed."""
    training = [key for key in KEYS if key[0] not in TEST]
    splits, note = hold_out_validation(training, sources, val_subject="none")
    assert splits == dict.fromkeys(training, "train")
    assert note == "validation: nobody; all training subjects train"
    assert splits_in_use([*splits.values(), "test"]) == ("train", "test")
