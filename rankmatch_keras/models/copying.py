"""Copies of a segmenter: the teacher that follows a student, the second network of a pair."""

from rankmatch_keras.errors import UserError


def copy_segmenter(segmenter, decoder: bool = True):
    """Makes a segmenter of the same structure, with variables of its own.

    Args:
        segmenter: a built ``Segmenter`` or ``DeepLabV3Plus``.
        decoder: whether the decoder's weights are copied too; otherwise it begins with random ones of its own.

    Returns:
        A segmenter of the same class and configuration.

    Raises:
        UserError: the segmenter is not built, so that there is nothing to copy.
    """
    if not segmenter.built:
        raise UserError("a built segmenter", "one without weights", "Call it once on an image.")
    copy = type(segmenter).from_config(segmenter.get_config())
    copy.encoder.set_weights(segmenter.encoder.get_weights())
    if decoder:
        copy.decoder.set_weights(segmenter.decoder.get_weights())
    return copy


def copy_decoder(segmenter):
    """A decoder of a segmenter's structure with random weights of its own."""
    return type(segmenter.decoder).from_config(segmenter.decoder.get_config())


def copy_network(network):
    """A copy of a segmenter, or of a functional model such as a representation head, with the same weights."""
    if hasattr(network, "encoder"):
        return copy_segmenter(network)
    copy = type(network).from_config(network.get_config())
    copy.set_weights(network.get_weights())
    return copy
