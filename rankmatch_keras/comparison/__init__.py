"""Comparison of runs over methods, numbers of labels and seeds: execution, tables, tests, charts.

Nothing here imports Keras: the process that waits for the runs stays small.
"""
