"""Where a training step spends its time on PyTorch: operations or GPU kernels by time, launches, and gaps.

\b
    python benchmarks profile --backbone resnet50 --crop 321 --batch 8

On a GPU "busy" is the share of a step in which a kernel ran; the rest is the host that came too late.
"""

import json
import os
import time
from pathlib import Path

import click
from step_time import describe, line, table_head

STEPS = 3


@click.command(help=__doc__)
@click.option("--method", default="RankMatch", show_default=True)
@click.option("--backbone", default="resnet50", show_default=True)
@click.option("--crop", default=321, show_default=True, type=click.IntRange(33))
@click.option(
    "--batch", default=8, show_default=True, type=click.IntRange(1), help="Labeled and unlabeled images, each."
)
@click.option("--precision", default="float32", type=click.Choice(("float32", "mixed_bfloat16")), show_default=True)
@click.option("--rows", default=15, show_default=True, type=click.IntRange(1), help="Operations to show.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for all operations.")
def main(rows, out, **settings):
    """Profile some steps and print the table."""
    os.environ["KERAS_BACKEND"] = "torch"
    about, result = describe(), profile(settings)
    click.echo(f"{about['date']}, {about['machine']}, {about['versions']}, on {result['device']}")
    busy = "" if result["busy"] is None else f", busy {100 * result['busy']:.0f} %"
    click.echo(f"a step takes {1e3 * result['seconds']:.1f} ms, {result['launches']:.0f} launches{busy}")
    click.echo(table_head("operation ms/step share calls/step"))
    total = sum(each["ms"] for each in result["operations"])
    for each in result["operations"][:rows]:
        share = f"{100 * each['ms'] / total:.1f} %"
        click.echo(line([f"`{each['name'][:60]}`", f"{each['ms']:.2f}", share, f"{each['calls']:.0f}"]))
    if out:
        out.write_text(json.dumps({**about, **settings, **result}, indent=1), encoding="utf-8")


def profile(settings):
    """Return seconds, launches, busy share and operations of a step, those that take longest first."""
    import torch
    from step_measure import make_job

    usual = {"backend": "torch", "jit": "auto", "num_agents": 128, "box_source": "in_batch", "replicas": 1}
    job = make_job({**usual, **settings})
    cuda = torch.cuda.is_available()
    for _ in range(3):
        job.step()
    activities = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if cuda else [])]
    with torch.profiler.profile(activities=activities) as seen:
        start = time.perf_counter()
        for _ in range(STEPS):
            job.step()
        if cuda:
            torch.cuda.synchronize()
        seconds = (time.perf_counter() - start) / STEPS
    key = "self_device_time_total" if cuda else "self_cpu_time_total"
    events = sorted(seen.key_averages(), key=lambda event: -getattr(event, key))
    kernels = [event for event in events if not cuda or event.device_type == torch.profiler.DeviceType.CUDA]
    operations = [
        {"name": event.key, "ms": getattr(event, key) / 1e3 / STEPS, "calls": event.count / STEPS} for event in kernels
    ]
    return {
        "device": torch.cuda.get_device_name() if cuda else "CPU",
        "seconds": seconds,
        "launches": sum(each["calls"] for each in operations),
        "busy": sum(each["ms"] for each in operations) / 1e3 / seconds if cuda else None,
        "operations": operations,
    }
