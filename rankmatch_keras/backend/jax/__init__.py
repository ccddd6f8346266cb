"""JAX: the step as a pure function of its state, replicas by `keras.distribution`."""
