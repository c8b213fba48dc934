"""The stated order in which an ensemble shrinks."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dawnchorus.competition.submission.degradation import Way, thinner_ways


def test_two_models_of_five_folds_shrink_in_the_stated_order() -> None:
    said = [(way.networks, way.shift) for way in thinner_ways(Way((5, 5), True))]
    assert said == [
        ((5, 4), True),
        ((4, 4), True),
        ((4, 3), True),
        ((3, 3), True),
        ((3, 2), True),
        ((2, 2), True),
        ((2, 2), False),
        ((2, 1), False),
        ((1, 1), False),
        ((1, 0), False),
    ]


def test_a_single_network_has_nothing_to_give_up() -> None:
    assert list(thinner_ways(Way((1,), False))) == []


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.booleans())
def test_every_way_is_thinner_than_the_last_and_ends_at_one_network(networks: list[int], shift: bool) -> None:
    ways = [Way(tuple(networks), shift), *thinner_ways(Way(tuple(networks), shift))]
    for before, after in pairwise(ways):
        given_up = sum(before.networks) - sum(after.networks) + (before.shift - after.shift)
        assert given_up == 1
    assert sum(ways[-1].networks) == 1
    assert not ways[-1].shift


@given(st.lists(st.integers(0, 6), min_size=1, max_size=4).filter(any), st.booleans())
def test_the_order_does_not_depend_on_where_it_begins(networks: list[int], shift: bool) -> None:
    ways = list(thinner_ways(Way(tuple(networks), shift)))
    for place, way in enumerate(ways):
        assert list(thinner_ways(way)) == ways[place + 1 :]


def test_a_way_is_said_in_words() -> None:
    assert str(Way((5, 4), True)) == "5 + 4 networks, with shifted windows"
    assert str(Way((1, 0), False)) == "1 network"
