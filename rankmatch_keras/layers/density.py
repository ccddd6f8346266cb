"""How densely the stored features of a class lie around a feature."""

from keras import ops

from rankmatch_keras.layers.pixels import unit_length

NEIGHBOURS = (8, 16, 32)


def density(features, memory, filled):
    """Mean over k = 8, 16, 32 of the mean cosine similarity to the k nearest stored features of the same class.

    One class after the other, so that no more than `P * M` similarities are held at once. A memory of fewer than k
    features gives all of them.

    Args:
        features: `(C, P, F)` float32.
        memory: `(C, M, F)` float32.
        filled: `(C, M)` bool, which places of the memory hold a feature.

    Returns:
        `(C, P)` float32 of -1 to 1, without gradient; 0 for classes without memory.
    """
    count = min(max(NEIGHBOURS), memory.shape[1])
    order = ops.arange(count, dtype="int32")

    def of_class(parts):
        features, memory, filled = parts
        similarity = ops.matmul(unit_length(features), ops.transpose(unit_length(memory)))  # (P, M)
        nearest = ops.top_k(ops.where(filled[None], similarity, -2.0), count)[0]  # (P, count)
        stored = ops.sum(ops.cast(filled, "int32"))
        means = []
        for k in NEIGHBOURS:
            number = ops.minimum(stored, min(k, count))
            total = ops.sum(ops.where(order < number, nearest, 0.0), axis=-1)
            means.append(total / ops.cast(ops.maximum(number, 1), "float32"))
        return sum(means) / float(len(means))

    return ops.stop_gradient(ops.map(of_class, tuple(ops.stop_gradient(x) for x in (features, memory)) + (filled,)))
