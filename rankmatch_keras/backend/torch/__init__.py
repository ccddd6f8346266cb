"""PyTorch: the step by staged backward passes, replicas by DistributedDataParallel."""
