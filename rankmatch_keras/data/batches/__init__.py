"""Training batches: `training_batches` checks the arguments and takes one of two pipelines.

`tf_data` makes batches with TensorFlow and keras-cv, `worker_batches` in worker processes without either. The workers
import the modules named after them and no framework; only `worker_batches`, in the main process, imports Keras.
"""
