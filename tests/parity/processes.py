"""Starts the driver on every installed backend, each in a process of its own."""

import contextlib
import importlib.util
import os
import pathlib
import subprocess
import sys

DRIVER = pathlib.Path(__file__).parent / "driver.py"
BACKENDS = tuple(name for name in ("tensorflow", "torch", "jax") if importlib.util.find_spec(name))
LIMIT_S = 900


def run_driver(folder, tasks):
    """Runs the tasks of each backend at the same time; fails with the end of the log of the first that failed."""
    with contextlib.ExitStack() as stack:
        running = {}
        for backend, names in tasks.items():
            log = stack.enter_context((folder / f"{backend}-{names[0]}.log").open("w+"))
            environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)}
            command = [sys.executable, DRIVER, folder, *names]
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
            stack.callback(process.wait)
            stack.callback(process.kill)
            running[backend] = process, log
        for backend, (process, log) in running.items():
            if process.wait(LIMIT_S):
                log.seek(0)
                raise RuntimeError(f"{' and '.join(tasks[backend])} failed on {backend}: {log.read()[-3000:]}")
