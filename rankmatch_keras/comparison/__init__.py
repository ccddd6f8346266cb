"""Comparing runs of several methods, numbers of labels and seeds: starting them, tables, tests, charts.

Nothing here imports Keras: the process that waits for the runs stays small.
"""
