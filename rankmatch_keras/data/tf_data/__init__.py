"""The input path by tf.data: views drawn in TensorFlow, strong views by keras-cv layers.

`weak`, `strong`, `intensity` and `blur` are the operations, `seeds` their random numbers, `boxes` the CutMix boxes,
`examples` the numbered images, `batches` the whole. `data.workers` holds their twins without TensorFlow.
"""
