import itertools

from rankmatch_keras.data.views.seeds_numpy import generator


def test_every_view_has_random_numbers_of_its_own():
    places = list(itertools.product((0, 1, 2**40), (1, 2, 3), (0, 1, 2, 10**9), (0, 1, 11)))
    assert len({generator(*place).random() for place in places}) == len(places)
    assert generator(1, 2, 3, 4).random() == generator(1, 2, 3, 4).random()
