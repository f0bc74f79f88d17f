"""Children for measurements: what they return, how they may end, what their peak means.

Every child here is a real process. The bound on memory is the module's own: 5% of the true bytes
and 1 MiB.
"""

from __future__ import annotations

import _thread
import multiprocessing
import operator
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest
import torch

from autodiff.errors import TapemeasureError
from profiler import process, resident
from profiler.available import available_bytes, cgroup_left_bytes
from profiler.process import ChildOutcome, run_in_child
from profiler.resident import (
    LEAST_MEASURABLE_BYTES,
    measure_process_memory,
    process_memory_reason,
)
from profiler.signals import signals_held_back
from tests.support.paths import ROOT

MIB = 2**20
LONG_S = 600.0

# Children import this module, hence pytest; each is faster by a tenth of a second if their server
# has it.
process.preload_in_children("pytest")


# What the children run: functions that a child can import.


def ones(mib: float) -> Callable[[], torch.Tensor]:
    """A step that allocates `mib` MiB and returns them."""
    return lambda: torch.ones(int(mib * MIB) // 4)


def passing(mib: int) -> Callable[[], torch.Tensor]:
    """A step that allocates `mib` MiB twice, frees the first, and then a little more."""

    def step() -> torch.Tensor:
        temporary, kept = torch.ones(mib * MIB // 4), torch.ones(mib * MIB // 4)
        del temporary
        return kept

    return step


def one_after_another(mib: int) -> Callable[[], None]:
    """A step that allocates `mib` MiB three times, each freed before the next."""

    def step() -> None:
        for _ in range(3):
            torch.ones(mib * MIB // 4)

    return step


def small_blocks(count: int) -> Callable[[], list[torch.Tensor]]:
    """A step that allocates `count` blocks of 32 KiB, and one that stays, so that the heap cannot
    shrink when the others are freed.
    """
    pins: list[torch.Tensor] = []

    def step() -> list[torch.Tensor]:
        blocks = [torch.ones(8192) for _ in range(count)]
        pins.append(torch.ones(8192))
        return blocks

    return step


def tanh_chain(d: int, b: int, n: int) -> Callable[[], list[torch.Tensor]]:
    """A step of n products d×d by d×b, each with its tanh, all tanh kept.

    (n+1)·d·b elements at the peak.
    """
    weights = [torch.full((d, d), 1 / d) for _ in range(n)]
    start = torch.ones(d, b)

    def step() -> list[torch.Tensor]:
        with torch.inference_mode():
            kept = [start]
            for weight in weights:
                kept.append(torch.tanh(weight @ kept[-1]))
            return kept

    return step


def after_a_larger_past(mib: int) -> Callable[[], torch.Tensor]:
    """The step of `ones`, prepared by a computation that took 64 MiB more and gave them back."""
    torch.ones((mib + 64) * MIB // 4)
    return ones(mib)


def counting() -> Callable[[], tuple[int, str, None]]:
    """A step that says how often it was called."""
    calls: list[int] = []

    def step() -> tuple[int, str, None]:
        calls.append(1)
        return len(calls), "calls", None

    return step


def raises(message: str) -> NoReturn:
    raise ValueError(message)


def kills_itself(signal_number: int) -> None:
    os.kill(os.getpid(), signal_number)
    time.sleep(LONG_S)


def exhausts_its_memory() -> torch.Tensor:
    resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30, 16 * 2**30))
    return torch.empty(2**36)


def sleeps_with_a_child(note: str) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({LONG_S})"])
    Path(note).write_text(f"{os.getpid()} {sleeper.pid}")
    sleeper.wait()


def leaves_a_child(note: str, end: bool) -> str:
    sleeper = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({LONG_S})"])
    Path(note).write_text(f"{sleeper.pid}")
    if end:
        os._exit(4)
    return "done"


def threads_and_main() -> tuple[int, int, Any]:
    return torch.get_num_threads(), os.getpid(), getattr(sys.modules["__main__"], "__file__", None)


def a_lock() -> Any:
    return threading.Lock()


def without_reset(mib: int) -> Any:
    return resident._measure_step(after_a_larger_past, (mib,), reset=False)


def without_clear_refs(absent: str) -> Any:
    resident._CLEAR_REFS = Path(absent)
    return resident._measure_step(counting, ())


# What the tests ask of the outcomes.


def step_bytes(outcome: ChildOutcome) -> int:
    assert outcome.status == "ok", outcome
    assert outcome.reason == ""
    assert outcome.peak_rss_bytes is not None
    assert outcome.baseline_rss_bytes is not None
    return outcome.peak_rss_bytes - outcome.baseline_rss_bytes


def agrees(measured: int, true: int) -> bool:
    return abs(measured - true) <= 0.05 * true + MIB


def is_gone(pid: int) -> bool:
    """Whether a process ends within ten seconds.

    One that only waits to be collected by its parent has ended.
    """
    for _ in range(1000):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    return False


def processes_and_files() -> tuple[int, int]:
    return len(psutil.Process().children(recursive=True)), len(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Holds after every test that no process and no open file is there that was not before (the
    server of the children stays).
    """
    assert run_in_child(os.getpid).status == "ok"
    before = processes_and_files()
    yield
    assert processes_and_files() == before


# Memory.


@pytest.mark.parametrize("mib", [4, 5.5, 16, 64])
def test_resident_memory_is_what_the_step_holds(mib: float) -> None:
    """Peak minus baseline is the bytes that the step's result holds."""
    assert agrees(step_bytes(measure_process_memory(ones, mib)), int(mib * MIB))


def test_holding_twice_as_much_is_noticed() -> None:
    """The bound is narrow enough to tell one step from another that holds twice as much."""
    measured = step_bytes(measure_process_memory(ones, 8))
    assert agrees(measured, 8 * MIB)
    assert not agrees(measured, 4 * MIB)
    assert not agrees(measured, 16 * MIB)


def test_memory_is_the_same_every_time() -> None:
    """Ten measurements of the same step lie within a quarter of a MiB."""
    measured = [step_bytes(measure_process_memory(ones, 4)) for _ in range(10)]
    assert max(measured) - min(measured) <= MIB // 4


def test_a_temporary_counts_in_the_peak() -> None:
    """What was freed before the step ended is in the peak, for it was alive together with the
    rest.
    """
    assert agrees(step_bytes(measure_process_memory(passing, 8)), 16 * MIB)


def test_freed_blocks_are_returned() -> None:
    """Blocks that are freed before the next is born do not add up."""
    assert agrees(step_bytes(measure_process_memory(one_after_another, 8)), 8 * MIB)


def test_small_blocks_are_not_hidden_by_the_heap() -> None:
    """Blocks too small to be returned when freed count again in the measured step, though the
    warm-up had them already.
    """
    assert agrees(step_bytes(measure_process_memory(small_blocks, 256)), 257 * 32 * 1024)


@pytest.mark.parametrize(("d", "b", "n"), [(128, 512, 8), (256, 1024, 8)])
def test_workspaces_of_products_are_not_the_steps(d: int, b: int, n: int) -> None:
    """A chain of products and tanh takes (n+1)·d·b elements.

    The warm-up has paid for the workspaces of the BLAS.
    """
    assert agrees(step_bytes(measure_process_memory(tanh_chain, d, b, n)), (n + 1) * d * b * 4)


def test_the_parents_memory_is_not_the_childs() -> None:
    """200 MiB that the caller holds are neither in the child's baseline nor in its peak."""
    lean = measure_process_memory(ones, 4)
    large = torch.ones(200 * MIB // 4)
    assert psutil.Process().memory_info().rss > 200 * MIB
    beside = measure_process_memory(ones, 4)
    assert agrees(step_bytes(beside), 4 * MIB)
    assert lean.baseline_rss_bytes is not None
    assert beside.baseline_rss_bytes is not None
    assert abs(beside.baseline_rss_bytes - lean.baseline_rss_bytes) < 20 * MIB
    assert large.sum() == 50 * MIB


def test_without_the_reset_the_past_is_measured() -> None:
    """The negative control: a larger computation before the step is reported as the step's own
    unless the mark is reset.
    """
    assert agrees(step_bytes(measure_process_memory(after_a_larger_past, 4)), 4 * MIB)
    _, peak, baseline, _ = run_in_child(without_reset, 4).value
    assert not agrees(peak - baseline, 4 * MIB)
    assert peak - baseline > 60 * MIB


def test_a_small_value_of_the_step_comes_back() -> None:
    """The step is called once to warm up and once to be measured, and what it then returns is
    reported.
    """
    assert measure_process_memory(counting).value == (2, "calls", None)


def test_tensors_do_not_come_back() -> None:
    """A step that returns tensors has None as its value."""
    assert measure_process_memory(ones, 4).value is None
    assert measure_process_memory(tanh_chain, 2, 2, 2).value is None


def test_a_step_that_fails_has_no_memory() -> None:
    """A failure while preparing is an outcome without numbers."""
    assert measure_process_memory(raises, "no such network") == ChildOutcome(
        "failed", "ValueError: no such network"
    )


def test_reasons_why_memory_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below 2 MiB, or without a mark to reset, there is a reason in one line.

    Else there is none.
    """
    assert LEAST_MEASURABLE_BYTES == 2 * MIB
    assert process_memory_reason(2 * MIB) is None
    assert "2097151 bytes is below 2097152" in str(process_memory_reason(2 * MIB - 1))
    monkeypatch.setattr(resident, "_CLEAR_REFS", tmp_path / "absent")
    assert "absent cannot be written" in str(process_memory_reason(2 * MIB))


def test_a_system_without_the_mark_still_runs_the_step(tmp_path: Path) -> None:
    """Where the mark cannot be reset the step runs once, and a reason stands in the place of the
    numbers.
    """
    value, peak, baseline, reason = run_in_child(without_clear_refs, str(tmp_path / "absent")).value
    assert (value, peak, baseline) == ((1, "calls", None), None, None)
    assert (
        reason == f"{tmp_path / 'absent'} cannot be written on this system, so the peak of one "
        f"step is not known"
    )


# Ends.


def test_a_value_comes_back() -> None:
    """Positional and keyword arguments go to the child, the value comes back, memory is not
    reported.
    """
    assert run_in_child(operator.mul, 6, 7) == ChildOutcome("ok", "", 42)
    assert run_in_child(sorted, [1, 3, 2], reverse=True) == ChildOutcome("ok", "", [3, 2, 1])


def test_large_values_go_both_ways() -> None:
    """32 MiB, far more than a pipe holds at once, arrive whole."""
    sent = os.urandom(MIB) * 32
    assert run_in_child(operator.add, sent, b"end", timeout_s=LONG_S).value == sent + b"end"


def test_threads_are_the_childs_own() -> None:
    """The child has the asked number of threads and is another process.

    The parent keeps its own number.
    """
    before = torch.get_num_threads()
    threads, pid, _ = run_in_child(threads_and_main, threads=3).value
    assert (threads, torch.get_num_threads()) == (3, before)
    assert pid != os.getpid()
    assert run_in_child(threads_and_main).value[0] == 1


@pytest.mark.parametrize(
    ("function", "args", "reason"),
    [
        (raises, ("no such shape\nand more",), "ValueError: no such shape"),
        (raises, ("",), "ValueError"),
        (raises, ("x" * 1000,), "ValueError: " + "x" * 287 + "…"),
        (sys.exit, (3,), "SystemExit: 3"),
        (os._exit, (3,), "exited with code 3 before it gave a value"),
        (os._exit, (0,), "exited with code 0 before it gave a value"),
        (
            kills_itself,
            (signal.SIGKILL,),
            "killed by SIGKILL: the system was probably out of memory",
        ),
        (kills_itself, (signal.SIGSEGV,), "killed by SIGSEGV"),
        (kills_itself, (signal.SIGRTMIN + 5,), f"killed by signal {signal.SIGRTMIN + 5}"),
        (a_lock, (), "TypeError: cannot pickle '_thread.lock' object"),
    ],
)
def test_failures_have_a_reason(
    function: Callable[..., Any], args: tuple[Any, ...], reason: str
) -> None:
    """However a child ends without a value, the outcome says so in one line."""
    assert run_in_child(function, *args) == ChildOutcome("failed", reason)


def test_a_child_that_closes_its_pipe_is_a_failure() -> None:
    """A function that closes every file leaves its child no way to speak, and the parent does not
    wait for it.
    """
    outcome = run_in_child(os.closerange, 3, 4096)
    assert outcome.status == "failed"
    assert "before it gave a value" in outcome.reason


def test_out_of_memory_is_a_failure() -> None:
    """An allocation that the system refuses is an outcome with PyTorch's own first line."""
    outcome = run_in_child(exhausts_its_memory)
    assert outcome.status == "failed"
    assert outcome.reason.startswith("RuntimeError: ")
    assert "can't allocate memory" in outcome.reason
    assert "\n" not in outcome.reason


def test_a_child_that_takes_too_long_is_killed() -> None:
    """A child that is still running at its time limit ends with status timeout, long before it
    would by itself.
    """
    started = time.monotonic()
    outcome = run_in_child(time.sleep, LONG_S, timeout_s=0.3)
    assert outcome == ChildOutcome(
        "timeout", "not finished after timeout_s=0.3 seconds, and killed"
    )
    assert time.monotonic() - started < LONG_S / 2


def test_the_childs_own_children_are_killed(tmp_path: Path) -> None:
    """Neither a timeout, a crash nor a value leaves anything running that the child has started."""
    note = tmp_path / "pids"
    assert run_in_child(sleeps_with_a_child, str(note), timeout_s=2.0).status == "timeout"
    assert [is_gone(int(pid)) for pid in note.read_text().split()] == [True, True]
    assert (
        run_in_child(leaves_a_child, str(note), True).reason
        == "exited with code 4 before it gave a value"
    )
    assert is_gone(int(note.read_text()))
    assert run_in_child(leaves_a_child, str(note), False).value == "done"
    assert is_gone(int(note.read_text()))


def test_an_interrupt_kills_the_child_and_propagates(tmp_path: Path) -> None:
    """Ctrl-C while a child runs reaches the caller as KeyboardInterrupt, and the child is gone."""
    note = tmp_path / "pids"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt() -> None:
        while not (note.exists() and note.read_text()):
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    try:
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            run_in_child(sleeps_with_a_child, str(note))
        thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert [is_gone(int(pid)) for pid in note.read_text().split()] == [True, True]


def test_an_interrupt_while_a_child_starts_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request to the server is never broken off; the child that it made is gone all the same."""
    kind, pids = process._context.Process, []
    started = kind.start

    def start(self: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        started(self)
        pids.append(self.pid)

    monkeypatch.setattr(kind, "start", start)
    # A shell starts what runs in the background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_in_child(time.sleep, LONG_S)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(pids) == 1
    assert not psutil.pid_exists(pids[0])
    monkeypatch.undo()
    assert run_in_child(operator.add, 1, 2).value == 3


def test_signals_are_handled_once_after_a_block_that_holds_them_back() -> None:
    """Also after an exception; what the program ignores stays ignored."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with suppress(ValueError), signals_held_back():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert heard == []
            raise ValueError
        assert heard == [signal.SIGTERM]
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with signals_held_back():
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_failure_does_not_touch_the_next_child() -> None:
    """Children are independent: one that crashed leaves the next as it would have been."""
    assert [run_in_child(function, 3).status for function in (os._exit, abs, os._exit, abs)] == [
        "failed",
        "ok",
        "failed",
        "ok",
    ]


def test_children_side_by_side() -> None:
    """Several threads can have a child each."""
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda number: run_in_child(operator.neg, number), range(8)))
    assert [outcome.value for outcome in outcomes] == [-number for number in range(8)]


@pytest.mark.slow
def test_the_server_may_die(tmp_path: Path) -> None:
    """When the server of the children is killed, the next call starts another one."""
    parent = run_in_child(os.getppid).value
    server = psutil.Process(parent)
    assert server.ppid() == os.getpid()
    server.kill()
    assert is_gone(parent)
    assert run_in_child(abs, -2).value == 2
    assert run_in_child(os.getppid).value != parent


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        (abs, {"timeout_s": 0}, "timeout_s=0: expected seconds above 0"),
        (abs, {"timeout_s": float("nan")}, "timeout_s=nan"),
        (abs, {"threads": 0}, "threads=0: expected a whole number from 1"),
        (lambda: 0, {}, "expected a function defined at the top of a module"),
        (abs, {"x": _thread.allocate_lock()}, "cannot pickle"),
    ],
)
def test_what_cannot_be_asked_is_an_error(
    function: Callable[..., Any], options: dict[str, Any], words: str
) -> None:
    """A limit or a number of threads that is none, and what cannot be sent to a child, are refused
    in one line.
    """
    with pytest.raises(TapemeasureError, match=words) as refused:
        run_in_child(function, **options)
    assert "\n" not in str(refused.value)


def test_spawned_children_do_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no server, children are spawned, their values come back, and memory is said to
    be unknown.
    """
    monkeypatch.setattr(process, "_context", multiprocessing.get_context("spawn"))
    monkeypatch.setattr(resident, "METHOD", "spawn")
    assert run_in_child(operator.mul, 6, 7).value == 42
    assert "is measured on Linux" in str(process_memory_reason(2 * MIB))


# Main modules.

SCRIPT = """
import operator, sys
print("loaded", flush=True)
from profiler.process import run_in_child
def double(number):
    return 2 * number
def main(function, *args):
    outcome = run_in_child(function, *args)
    print(outcome.reason or outcome.value, flush=True)
"""


def run_script(folder: Path, ending: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(SCRIPT + ending)
    command = [sys.executable, *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )


@pytest.mark.slow
def test_a_main_program_is_not_run_again(tmp_path: Path) -> None:
    """A module that runs as the program, even without a guard, is loaded once if what the child
    calls is not defined in it.
    """
    done = run_script(tmp_path, "main(operator.add, 1, 2)\n", "-m", "program")
    assert (done.stdout, done.stderr) == ("loaded\n3\n", "")


def test_a_guarded_program_can_hand_over_its_own_function(tmp_path: Path) -> None:
    """A function of the main script is found in the child, which loads the script but does not run
    what is guarded.
    """
    done = run_script(
        tmp_path,
        'if __name__ == "__main__":\n    main(operator.add, 1, 2)\n    main(double, 21)\n',
        "program.py",
    )
    assert (done.stdout, done.stderr) == ("loaded\n3\nloaded\n42\n", "")


@pytest.mark.slow
def test_a_killed_parent_leaves_no_child(tmp_path: Path) -> None:
    """When the measuring program is killed outright, its child and what that has started end
    too.
    """
    note = tmp_path / "pids"
    code = (
        "import test_process; from profiler.process import run_in_child; "
        f"run_in_child(test_process.sleeps_with_a_child, {str(note)!r})"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)]),
    }
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment)
    while parent.poll() is None and not (note.exists() and len(note.read_text().split()) == 2):
        time.sleep(0.01)
    parent.kill()
    assert parent.wait() == -signal.SIGKILL
    assert [is_gone(int(pid)) for pid in note.read_text().split()] == [True, True]


# Room.


def test_available_memory_is_what_the_system_says() -> None:
    """It is above zero and at most the machine's memory."""
    assert 0 < available_bytes() <= psutil.virtual_memory().total


def limited(folder: Path, names: tuple[str, str], limit: str, used: int, cache: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{cache}\n")


def test_limits_of_control_groups_are_respected(tmp_path: Path) -> None:
    """Every limit from the group of the process up to the root leaves what it has left, pages of
    files that can be given back included.
    """
    second = ("memory.max", "memory.current")
    limited(tmp_path / "jobs", second, "1000", 600, "inactive_file 50")
    limited(tmp_path / "jobs" / "one", second, "max", 300, "inactive_file 0")
    limited(tmp_path / "jobs" / "one" / "step", second, "500", 200, "inactive_file 0")
    assert cgroup_left_bytes("0::/jobs/one/step\n", tmp_path) == [450, 300]
    assert cgroup_left_bytes("0::/other\n", tmp_path) == []
    assert cgroup_left_bytes("", tmp_path) == []


def test_limits_of_the_older_control_groups_are_respected(tmp_path: Path) -> None:
    """In the first version the limit may stand at the root of the mount, with the host's path not
    to be seen.
    """
    limited(
        tmp_path / "memory",
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        "800",
        700,
        "total_inactive_file 30",
    )
    assert cgroup_left_bytes("9:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n", tmp_path) == [130]
