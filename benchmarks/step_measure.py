"""Process that trains one method on one backend and measures itself; `step_time.py` starts it.

    python benchmarks/step_measure.py '{"backend": "torch", "method": "RankMatch", ...}' [COMMAND ...]

Commands come from the arguments or, without any, from standard input, one a line. Each is answered by one line of JSON:
"forward", "gradient", "step" and "fed" with seconds, "peak" with bytes, "busy" with a fraction of time, "about" with
the device's name.
"""

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

FRAMEWORKS = ("tensorflow", "torch", "jax")
SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample"
CLASSES = 21
BUSY_STEPS = 10


def main():
    """Read the settings, prepare, and answer commands."""
    settings = json.loads(sys.argv[1])
    os.environ["KERAS_BACKEND"] = settings["backend"]
    # Keras imports every framework it finds: 0.6 GB for TensorFlow and JAX.
    sys.modules.update({name: None for name in FRAMEWORKS if name != settings["backend"]})
    if settings["cores"]:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: settings["cores"]])
    from rankmatch_keras.environment import require_environment

    require_environment()
    answers, sys.stdout = sys.stdout, sys.stderr  # keeps library output apart from the answers
    job = make_job(settings)
    for command in sys.argv[2:] or sys.stdin:
        answer = getattr(job, command.strip())()
        if job.is_main:
            print(json.dumps(answer), file=answers, flush=True)


def make_job(settings):
    """Return the job that the settings describe."""
    import keras

    from rankmatch_keras.backend.distribution import distribute
    from rankmatch_keras.backend.numerics import set_precision

    keras.utils.set_random_seed(0)
    if settings["method"] == "plain":
        return PlainJob(random_batch(settings), CLASSES)
    distribution = distribute("none" if settings["replicas"] == 1 else "auto", in_process(settings))
    frameworks_own_precision(settings["precision"])
    set_precision("float32" if settings["precision"] == "tf32" else settings["precision"])
    return Job(settings, distribution)


def in_process(settings):
    """Return the number of replicas in this process, or None on torch, where `torchrun` starts a process for each."""
    return settings["replicas"] if settings["replicas"] > 1 and settings["backend"] != "torch" else None


def frameworks_own_precision(precision):
    """Allow or forbid TF32 rounding of float32 products on GPUs."""
    import keras

    tf32 = precision == "tf32"
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    elif backend == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "tensorfloat32" if tf32 else "highest")
    else:
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(tf32)


class Job:
    """Measurements of a compiled method on DeepLabV3+ with random weights."""

    def __init__(self, settings, distribution):
        from rankmatch_keras import methods, models, training
        from rankmatch_keras.training.options import JIT

        options = {"num_agents": settings["num_agents"]} if settings["method"] == "RankMatch" else {}
        with distribution.scope():
            segmenter = models.deeplab_v3_plus(models.create_backbone(settings["backbone"]), CLASSES)
            self.model = getattr(methods, settings["method"])(segmenter, **options)
            self.model.compile(training.SGD(1e-4), JIT[settings["jit"]])
        distribution.prepare(self.model)
        self.settings, self.distribution, self.is_main = settings, distribution, distribution.is_main
        self.batch = None if settings["replicas"] > 1 else random_batch(settings)
        self._passes = self._fed = None

    def about(self):
        """Return the name of the GPU, or None."""
        from step_backends import device_name

        return device_name()

    def forward(self):
        """Time all forward passes and losses, recorded for a backward pass that does not follow."""
        return seconds(lambda: self.passes().forward())

    def gradient(self):
        """Time all forward and backward passes."""
        return seconds(lambda: self.passes().gradient())

    def step(self):
        """Time a whole step on a batch in memory."""
        return seconds(lambda: self.model.train_on_batch(self.batch))

    def fed(self):
        """Time a step that takes its batch from the input pipeline, which works at the same time."""
        if self._fed is None:
            self._fed = iter(self.distribution.batches(sample_batches(self.settings, self.distribution)))
        return seconds(lambda: self.model.train_on_batch(next(self._fed)))

    def replicated(self):
        """Return the seconds of each step of a short `fit` on all replicas, without the first two."""
        import keras

        times = []

        class Clock(keras.callbacks.Callback):
            def on_train_batch_begin(self, batch, logs=None):
                self.start = time.perf_counter()

            def on_train_batch_end(self, batch, logs=None):
                float(next(iter(logs.values())))
                times.append(time.perf_counter() - self.start)

        batches = self.distribution.batches(sample_batches(self.settings, self.distribution))
        steps = self.settings["steps"] + 2
        self.model.fit(batches, epochs=1, steps_per_epoch=steps, callbacks=[Clock()], verbose=0, shuffle=False)
        return times[2:]

    def peak(self):
        """Return peak memory in bytes: the GPU's where there is one, else the resident memory of this process."""
        from step_backends import device_peak

        return device_peak() or resident_peak()

    def busy(self):
        """Return the fraction of time in which the GPU was busy during some steps, or None without `nvidia-smi`."""
        if shutil.which("nvidia-smi") is None:
            return None
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200"]
        with subprocess.Popen(query, stdout=subprocess.PIPE, text=True) as monitor:
            for _ in range(BUSY_STEPS):
                self.model.train_on_batch(self.batch)
            monitor.terminate()
            samples = [float(line) / 100 for line in monitor.stdout if line.strip().isdigit()]
        return sum(samples) / len(samples) if samples else None

    def passes(self):
        """Return the passes of a step without its update, built on the first call."""
        if self._passes is None:
            from step_backends import passes_of

            self._passes = passes_of(self.model, self.batch)
        return self._passes


class PlainJob:
    """Measurements of the plain PyTorch step, always on the CPU."""

    is_main = True

    def __init__(self, batch, classes):
        from plain_torch import PlainStep

        self.plain = PlainStep(batch, classes)

    def about(self):
        """Return no device name."""

    def forward(self):
        """Time all forward passes and losses."""
        return seconds(self.plain.loss)

    def gradient(self):
        """Time all forward and backward passes."""
        return seconds(self.plain.gradient)

    def step(self):
        """Time a whole step."""
        return self.gradient() + seconds(self.plain.update)

    def peak(self):
        """Return peak resident memory in bytes."""
        return resident_peak()


def seconds(function):
    """Return how long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def resident_peak():
    """Return the peak resident memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def random_batch(settings, classes=CLASSES):
    """Return a training batch of random content."""
    import numpy as np

    rng = np.random.default_rng(0)
    batch, crop = settings["batch"], settings["crop"]
    names = ("labeled_image", "weak_image", "strong_image_1", "strong_image_2")
    content = {name: rng.normal(size=(batch, crop, crop, 3)).astype("float32") for name in names}
    content["labeled_mask"] = rng.integers(0, classes, (batch, crop, crop)).astype("int32")
    content["valid"] = np.ones((batch, crop, crop), bool)
    box = np.array([crop // 4, crop // 4, crop // 2, crop // 2], "int32")
    content |= {f"cutmix_box_{number}": np.tile(box, (batch, 1)) for number in (1, 2)}
    if settings["box_source"] == "second_view":
        content |= {f"source_{name}": content[name] for name in ("weak_image", *names[2:], "valid")}
    return content


def sample_batches(settings, distribution):
    """Return global batches of the embedded sample scenes, as a recipe makes them."""
    from rankmatch_keras import data, models
    from rankmatch_keras.layers import ChannelNormalization

    dataset = data.SampleScenes(SAMPLE)
    normalization = ChannelNormalization(**models.backbone_normalization(settings["backbone"]))
    with contextlib.redirect_stdout(sys.stderr):
        return data.training_batches(
            dataset.train,
            dataset.train,
            crop=settings["crop"],
            batch_size=settings["batch"] * settings["replicas"],
            normalization=normalization,
            box_source=settings["box_source"],
            rows=distribution.rows,
        )


if __name__ == "__main__":
    main()
