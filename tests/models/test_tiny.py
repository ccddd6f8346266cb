import numpy as np

from rankmatch_keras.models.tiny import tiny_encoder


def test_maps_and_parameters():
    encoder = tiny_encoder()
    # stem 3*16*9; stages: 3x3 in->out, 3x3 out->out, 1x1 in->out; 4 numbers per normalised channel
    expected = 3 * 16 * 9 + 4 * 16
    for i, o in ((16, 24), (24, 48), (48, 96)):
        expected += 9 * i * o + 9 * o * o + i * o + 4 * 3 * o
    assert encoder.count_params() == expected == 172_816
    assert tuple(encoder.compute_output_shape((1, 321, 321, 3))) == (1, 21, 21, 96)
    assert tuple(encoder(np.zeros((2, 33, 50, 3), "float32")).shape) == (2, 3, 4, 96)
