import gc
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from rankmatch_keras.data.batches.worker_processes import Pool
from rankmatch_keras.errors import UserError

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
MODULES = "__import__('rankmatch_keras.data.batches.worker_examples') and sorted(__import__('sys').modules)"
WORKER = "__import__('os').getpid()"
with_proc = pytest.mark.skipif(not pathlib.Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


@pytest.fixture
def pool():
    """Two workers that evaluate Python expressions."""
    pool = Pool(eval, 2)
    yield pool
    pool.close()


def alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # nobody may be there to collect an orphan


def gone(pid, seconds=20):
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid)


def test_results_belong_to_their_jobs(pool):
    futures = [pool.submit(f"{n} ** 2") for n in range(20)]
    assert [future.result() for future in futures] == [n**2 for n in range(20)]
    assert len({pool.submit(f"__import__('time').sleep(0.01) or {WORKER}").result() for _ in range(8)}) <= 2


def test_workers_import_no_framework(pool):
    modules = pool.submit(MODULES).result()
    assert "numpy" in modules and "rankmatch_keras.data.sets.samples" in modules
    assert not {"keras", "tensorflow", "keras_cv", "torch", "jax", "pytest"} & set(modules)


def test_workers_compute_on_one_thread(pool):
    assert pool.submit("__import__('os').environ['OMP_NUM_THREADS']").result() == "1"


def test_what_is_printed_is_not_taken_for_a_result(capfd):
    pool = Pool(eval, 1)
    assert pool.submit("print('hello') or 5").result() == 5
    pool.close()
    assert capfd.readouterr().err == "hello\n"


def test_errors_of_the_user_come_back_as_they_are(pool):
    broken = "__import__('rankmatch_keras.data.readers.images').data.readers.images.read_image('nowhere.png')"
    with pytest.raises(UserError, match="nowhere.png") as caught:
        pool.submit(broken).result()
    assert caught.value.expected and caught.value.found and caught.value.remedy
    assert pool.submit("1 + 1").result() == 2


def test_other_errors_show_where_they_arose(pool):
    with pytest.raises(RuntimeError, match="In a worker process:(.|\n)*ZeroDivisionError"):
        pool.submit("1 / 0").result()


def test_limits_of_the_machine_come_back_as_they_are(pool):
    full = "(_ for _ in ()).throw(OSError(28, 'No space left on device', '/full/name'))"
    with pytest.raises(OSError, match="No space left on device: '/full/name'") as caught:
        pool.submit(full).result()
    assert caught.value.errno == 28
    with pytest.raises(MemoryError):
        pool.submit("(_ for _ in ()).throw(MemoryError())").result()


def test_what_cannot_be_sent_is_an_error_of_the_user(pool):
    with pytest.raises(UserError, match="can be sent to worker processes.*parallel_calls=0"):
        pool.submit(lambda: 1).result()
    unsendable = Pool(lambda: 1, 1)
    with pytest.raises(UserError, match="can be sent to worker processes"):
        unsendable.submit().result()
    unsendable.close()


def test_a_killed_worker_is_reported_and_nothing_waits_for_it():
    pool = Pool(eval, 1)
    os.kill(pool.submit(WORKER).result(), signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(UserError, match="exit code -9"):
            pool.submit("1").result(timeout=20)
    pool.close()


def test_nobody_waits_for_a_closed_pool():
    pool = Pool(eval, 1)
    futures = [pool.submit("__import__('time').sleep(60)") for _ in range(3)]
    pool.close()
    for future in futures:
        with pytest.raises(UserError, match="exit code -9"):
            future.result(timeout=20)
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit("1")


@with_proc
@pytest.mark.parametrize("end", ["close", "forget"])
def test_workers_end_with_their_pool(end):
    pool = Pool(eval, 2)
    pid = pool.submit(WORKER).result()
    for _ in range(4):
        pool.submit("__import__('time').sleep(60)")
    assert alive(pid)
    if end == "close":
        pool.close()
        pool.close()
    else:
        del pool
        gc.collect()
    assert not pathlib.Path(f"/proc/{pid}").exists()  # nor is it a zombie


def script(text, *options):
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "KERAS_BACKEND": "torch"}
    command = [sys.executable, "-W", "error", *options, text]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


BEGIN = """
print("started")
from rankmatch_keras.data.batches.worker_processes import Pool
pool = Pool(eval, 1)
print(pool.submit("__import__('os').getpid()").result(), flush=True)
"""
LAST = "import time; futures = [pool.submit(\"__import__('time').sleep(0.2)\") for _ in range(500)]\n"


@with_proc
@pytest.mark.parametrize("how", ["-c", "file"])
def test_a_script_needs_no_guard_and_ends_at_once(tmp_path, how):
    (tmp_path / "script.py").write_text(BEGIN + LAST)
    process = script(BEGIN + LAST, "-c") if how == "-c" else script(str(tmp_path / "script.py"))
    output, errors = process.communicate(timeout=60)  # 100 seconds of jobs are left
    assert (process.returncode, errors) == (0, "")
    started, pid = output.split()
    assert started == "started"  # once: the workers do not run the script again
    assert gone(pid)


@with_proc
@pytest.mark.parametrize("job", ["1", "__import__('time').sleep(0.5)"], ids=["idle", "busy"])
def test_workers_end_when_the_main_process_is_killed(job):
    process = script(BEGIN + LAST.replace("__import__('time').sleep(0.2)", job) + "time.sleep(60)", "-c")
    assert process.stdout.readline() == "started\n"
    pid = process.stdout.readline().strip()
    process.kill()
    assert gone(pid)
    assert process.communicate(timeout=60)[1] == ""


@with_proc
def test_an_interrupt_is_for_the_main_process_alone():
    # As at a terminal; what a shell starts in the background begins with interrupts ignored, and so do its children.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    wait = "try: time.sleep(60)\nexcept KeyboardInterrupt: print('interrupted')"
    process = script(heed + BEGIN + LAST + wait, "-c")
    assert process.stdout.readline() == "started\n"
    pid = process.stdout.readline().strip()
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (0, "interrupted\n", "")
    assert gone(pid)


def test_classes_of_a_script_are_refused_with_a_remedy():
    text = BEGIN + "class Mine: pass\nprint(pool.submit(Mine()).exception())"
    output, errors = script(text, "-c").communicate(timeout=60)
    assert "can be sent to worker processes; found AttributeError" in output and "parallel_calls=0" in output, errors
