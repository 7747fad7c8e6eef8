"""What a view of an item may be, for every augmentation that is built in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmemb_bench.registry.entries import find, names

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=8)
VALUES = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)
ITEMS = st.lists(VALUES, min_size=1, max_size=5).map(
    lambda values: tuple((f"name{place}", value) for place, value in enumerate(values))
)


def augmentation(name: str, **settings):
    plugin = find("augmentations", name).load()
    return plugin(plugin.config_type().model_validate(settings))


def words(view) -> list[tuple[str, str]]:
    """Each word with the attribute that it stands in."""
    return [(name, word) for name, value in view for word in value.split()]


@pytest.mark.parametrize("name", names("augmentations"))
@settings(deadline=None, max_examples=60)
@given(item=ITEMS, seed=st.integers(0, 2**32))
def test_no_view_is_empty_or_says_a_word_that_the_item_does_not(name, item, seed):
    made = augmentation(name)
    for make in (made.view, made.second):
        view = make(item, np.random.default_rng(seed))
        assert words(view)
        assert all(value.strip() for _, value in view)
        left = words(item)
        for word in words(view):
            left.remove(word)  # a ValueError where it was never there, or not so often
        assert make(item, np.random.default_rng(seed)) == view


@pytest.mark.parametrize("name", names("augmentations"))
def test_an_item_without_any_attribute_stays_so(name):
    made = augmentation(name)
    assert made.view((), np.random.default_rng(0)) == made.second((), np.random.default_rng(0)) == ()


@given(item=ITEMS, seed=st.integers(0, 99))
def test_shuffled_attributes_are_all_there_in_any_order(item, seed):
    assert sorted(augmentation("shuffle_attributes").view(item, np.random.default_rng(seed))) == sorted(item)


def test_every_order_of_attributes_is_as_likely():
    made, rng = augmentation("shuffle_attributes"), np.random.default_rng(0)
    item = (("a", "1"), ("b", "2"), ("c", "3"))
    counts: dict[tuple, int] = {}
    for _ in range(3000):
        view = made.view(item, rng)
        counts[view] = counts.get(view, 0) + 1
    assert len(counts) == 6
    assert all(400 < count < 600 for count in counts.values())


def test_words_are_left_out_each_with_its_chance_and_the_others_keep_their_order():
    made, rng = augmentation("mask_words", ratio=0.3), np.random.default_rng(0)
    item = (("title", "one two three four five"), ("kind", "six seven eight nine ten"))
    kept: dict[str, int] = {}
    for _ in range(2000):
        view = words(made.view(item, rng))
        assert [words(item).index(word) for word in view] == sorted(words(item).index(word) for word in view)
        for _, word in view:
            kept[word] = kept.get(word, 0) + 1
    assert len(kept) == 10
    assert all(abs(count / 2000 - 0.7) < 0.05 for count in kept.values())


def test_where_every_word_would_go_any_one_stays():
    made, rng = augmentation("mask_words", ratio=0.999999), np.random.default_rng(0)
    item = (("title", "one two"), ("kind", "three"))
    views = [made.view(item, rng) for _ in range(600)]
    assert {view: 150 < views.count(view) < 250 for view in set(views)} == {
        (("title", "one"),): True,
        (("title", "two"),): True,
        (("kind", "three"),): True,
    }


ITEM = (("title", "red soap"), ("brand", "X"), ("kind", "bar"))
RNG = np.random.default_rng(0)


def test_dropout_only_shows_the_item_as_it_is_twice():
    made = augmentation("dropout_only")
    assert made.view(ITEM, RNG) == made.second(ITEM, RNG) == ITEM


@pytest.mark.parametrize(
    ("chosen", "item", "title", "rest"),
    [
        ({}, ITEM, ITEM[:1], ITEM[1:]),
        ({"title": "brand"}, ITEM, ITEM[1:2], (ITEM[0], ITEM[2])),
        ({"title": "brand"}, ITEM[:1] + ITEM[2:], ITEM[:1], ITEM[2:]),  # this item has no brand
        ({}, ITEM[:1], ITEM[:1], ITEM[:1]),
    ],
)
def test_the_title_stands_against_all_the_rest(chosen, item, title, rest):
    made = augmentation("title_against_rest", **chosen)
    assert (made.view(item, RNG), made.second(item, RNG)) == (title, rest)
