import numpy as np
import pytest
from keras import ops

from rankmatch_keras.layers.class_tree import ClassTree, PathScores

# cat, dog | car | sky; animal; on four legs below it: dog alone.
PARENTS = (4, 5, -1, -1, -1, 4)


def test_tables():
    tree = ClassTree(PARENTS)
    assert (tree.num_classes, tree.num_nodes) == (4, 6)
    assert [family.tolist() for family in tree.families] == [[2, 3, 4], [0, 5], [1]]
    assert tree.family.tolist() == [1, 2, 0, 0, 0, 1]
    expected = [[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 1, 1], [0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0]]
    np.testing.assert_array_equal(tree.paths, expected)
    siblings = {(int(i), int(j)) for i, j in np.argwhere(tree.siblings)}
    assert siblings == {(a, b) for a, b in ((2, 3), (2, 4), (3, 2), (3, 4), (4, 2), (4, 3), (0, 5), (5, 0))}


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ((), "classes first"),
        ((-1, 3), "classes first"),
        ((-2, -1), "classes first"),
        ((1, -1, -1), "classes first"),  # node 1 is a group, 2 a class after it
        ((2, 2, 3, 2), "without a circle"),
        ((2, 2, 2), "without a circle"),
    ],
)
def test_what_is_no_tree(parents, message):
    with pytest.raises(ValueError, match=message):
        ClassTree(parents)


def test_scores_are_logarithms_of_products_along_the_paths():
    p = np.float32([0.9, 0.5, 0.2, 0.6, 0.8, 0.7])
    found = np.exp(ops.convert_to_numpy(PathScores(PARENTS)(np.log(p / (1 - p))[None, None, None])))[0, 0, 0]
    np.testing.assert_allclose(found, [0.9 * 0.8, 0.5 * 0.7 * 0.8, 0.2, 0.6], rtol=1e-5)
    extreme = ops.convert_to_numpy(PathScores((2, 2, -1))(np.float32([[[[500.0, -500.0, -200.0]]]])))[0, 0, 0]
    np.testing.assert_array_equal(extreme, [-200.0, -700.0])
