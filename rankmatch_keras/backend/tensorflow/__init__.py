"""TensorFlow: the step by `tf.GradientTape`, replicas by `tf.distribute`."""
