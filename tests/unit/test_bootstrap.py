"""Persons are drawn whole, and the same ones in every process."""

import numpy as np

from conceptbridge.evaluate.bootstrap import draw


def test_draws_as_many_persons_as_there_are():
    weight, person = draw([30, 10, 10, 20, 30], 50, 1, "task", "site")
    assert weight.shape == (3, 50)
    assert (weight.sum(axis=0) == 3).all()
    assert person.tolist() == [2, 0, 0, 1, 2]


def test_the_words_name_the_draw():
    persons = np.arange(40)
    first = draw(persons, 20, 1, "task", "here").weight
    assert np.array_equal(first, draw(persons, 20, 1, "task", "here").weight)
    assert not np.array_equal(first, draw(persons, 20, 1, "task", "there").weight)
    # the value itself is fixed: a new NumPy or a new hash would silently change every published interval
    assert draw(np.arange(6), 1, 1, "task", "here").weight[:, 0].tolist() == [3, 1, 0, 1, 1, 0]


def test_nobody_can_be_drawn_from_an_empty_split():
    weight, person = draw([], 10, 1)
    assert weight.shape == (0, 10)
    assert len(person) == 0
