"""Exact divergence between Plackett-Luce ranking distributions (RankMatch, Eq. 6-8)."""

import functools
import itertools

import numpy as np
from keras import ops

MAX_ITEMS = 10
MASKED = -1e30  # finite, since inf - inf is NaN


@functools.cache
def _levels(num_items: int):
    """List the sets of remaining items by size, largest first, and how each is reached from the size above.

    Return one pair per size m = K ... 2: `members` (sets, K) bool, and `arrivals` (sets, K - m) int, the flat
    positions `parent * K + item` in the level above from which picking `item` leaves this set (`None` at the top).
    """
    levels: list[tuple[np.ndarray, np.ndarray | None]] = []
    position: dict[tuple[int, ...], int] = {}
    for size in range(num_items, 1, -1):
        sets = list(itertools.combinations(range(num_items), size))
        members = np.zeros((len(sets), num_items), dtype=bool)
        for row, items in enumerate(sets):
            members[row, list(items)] = True
        arrivals = None
        if size < num_items:
            arrivals = np.array(
                [
                    [
                        position[tuple(sorted((*items, item)))] * num_items + item
                        for item in range(num_items)
                        if item not in items
                    ]
                    for items in sets
                ],
                dtype="int32",
            )
        levels.append((members, arrivals))
        position = {items: row for row, items in enumerate(sets)}
    return levels


def plackett_luce_kl(teacher_logits, student_logits):
    """Compute the exact KL divergence between two ranking distributions, without listing permutations.

    A Plackett-Luce ranking picks one item after another, each with its softmax probability among the items that remain:
    `P(pi|c) = prod_n c_pi(n) / sum_{m >= n} c_pi(m)` (Mai et al., CVPR 2024, Eq. 6). By the chain rule

        KL = sum_{S, |S| >= 2} P_teacher(S is what remains) * KL(teacher's pick from S || student's pick from S)

    over `2^K - K - 1` sets S instead of K! permutations; the probability of S follows from those of the next larger
    sets. A common factor of all probabilities cancels, so raw dot products serve as logits.

    Args:
        teacher_logits: `(..., K)` float, 2 <= K <= 10.
        student_logits: `(..., K)` float, the same items in the same order.

    Returns:
        `(...)` float32, the divergence in nats, 0 or more.

    Raises:
        ValueError: K is unknown, below 2 or above 10, or differs between the two.

    Example:

    >>> import numpy as np
    >>> kl = plackett_luce_kl(np.log([[0.5, 0.3, 0.2]]), np.log([[0.2, 0.3, 0.5]]))
    >>> round(float(kl[0]), 4)
    0.4279
    """
    teacher_logits = ops.cast(teacher_logits, "float32")
    student_logits = ops.cast(student_logits, "float32")
    num_items = teacher_logits.shape[-1]
    if num_items != student_logits.shape[-1] or num_items is None or not 2 <= num_items <= MAX_ITEMS:
        raise ValueError(
            f"Expected 2 to {MAX_ITEMS} items, as many for the teacher as for the student. "
            f"Received: teacher_logits.shape={teacher_logits.shape}, student_logits.shape={student_logits.shape}"
        )
    # A common offset cancels in every pick. Removed first, it cannot cost digits of a small divergence.
    teacher_logits = teacher_logits - ops.mean(teacher_logits, axis=-1, keepdims=True)
    student_logits = student_logits - ops.mean(student_logits, axis=-1, keepdims=True)
    excess = teacher_logits - student_logits  # (..., K)
    kl, reach, picks = 0.0, None, None
    for members, arrivals in _levels(num_items):
        member = ops.convert_to_tensor(members.astype("float32"))  # (sets, K)
        logits = teacher_logits[..., None, :] * member + MASKED * (1.0 - member)  # (..., sets, K)
        probability = ops.softmax(logits, axis=-1)
        if arrivals is not None:
            reach = _reach(picks, arrivals)  # (..., sets)
        step_kl = _choice_kl(logits, probability, excess)
        kl = kl + (step_kl[..., 0] if reach is None else ops.sum(reach * step_kl, axis=-1))
        picks = probability if reach is None else probability * reach[..., None]
    return kl


def _reach(picks, arrivals):
    """Sum the probabilities of all picks that leave a set: `(..., parents, K)` -> `(..., sets)`."""
    num_parents, num_items = picks.shape[-2], picks.shape[-1]
    shape = ops.shape(picks)
    flat = ops.reshape(picks, (*shape[:-2], num_parents * num_items))
    return ops.sum(ops.take(flat, arrivals, axis=-1), axis=-1)


def _choice_kl(logits, probability, excess):
    """Compute KL between the teacher's and the student's next pick: `(..., sets, K)`, `(..., K)` -> `(..., sets)`.

    With `x` = the student's minus the teacher's logits, centered under the teacher p, `KL = log sum p exp(x)`. Near
    agreement that is `log1p(sum p expm1(x))`, whose rounding error shrinks with x instead of drowning a small one;
    elsewhere a log-sum-exp, which neither overflows nor loses tiny p.
    """
    difference = -excess[..., None, :]
    x = difference - ops.sum(probability * difference, axis=-1, keepdims=True)  # (..., sets, K)
    near = ops.max(ops.abs(x), axis=-1) < 1.0
    # The unused branch sees zeros, so that it cannot put NaN into the gradient of the used one.
    close = ops.log1p(ops.sum(probability * ops.expm1(ops.where(near[..., None], x, 0.0)), axis=-1))
    far = ops.logsumexp(ops.log_softmax(logits, axis=-1) + x, axis=-1)
    return ops.where(near, close, far)
