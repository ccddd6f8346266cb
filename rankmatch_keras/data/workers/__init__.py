"""The input path by worker processes: the views of `data.tf_data` in NumPy and SciPy, without TensorFlow.

`weak`, `strong`, `intensity` and `blur` are the operations, `seeds` their random numbers, `boxes` the CutMix boxes,
`examples` the single images, `processes` the workers, `batches` the whole. Given the same geometry and factors both
paths make the same pixels; the random numbers themselves differ, their distribution does not.

The workers import these modules and no framework; only `batches`, which stays in the main process, imports Keras.
"""
