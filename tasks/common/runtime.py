"""What a stage that computes sets up first: threads, device, the lock on the device, and how signals stop it."""

import ctypes
import os
import signal
from contextlib import AbstractContextManager
from importlib.metadata import distribution
from pathlib import Path
from types import FrameType

import threadpoolctl
import torch

from models.training.device import DeviceError, Mode, choose_device, choose_mode, repeat_exactly
from tasks.common.errors import Stopped, UserError
from tasks.common.params import Params
from tasks.common.paths import hold_lock, work_folder


def limit_threads(threads: int) -> None:
    """Sets the number of threads of torch and of NumPy's BLAS."""
    torch.set_num_threads(threads)
    threadpoolctl.threadpool_limits(threads)  # type: ignore[no-untyped-call]


def pin_threads(threads: int) -> bool:
    """Pins each of torch's threads to its own core if there are as many threads as cores; returns whether it did.

    Torch's threads synchronise after every operation. While other processes compute, Linux may run two of them on one
    core, where each waits for the other, and the training becomes a hundred times slower. With spare cores that does
    not happen, and pinning would only force two trainings onto the same cores.
    """
    paths = [Path(info["filepath"]) for info in threadpoolctl.threadpool_info() if info["user_api"] == "openmp"]
    path = next((path for path in paths if "gomp" in path.name and "torch" in path.parts), None)
    if path is None or not hasattr(os, "sched_setaffinity") or len(cores := sorted(os.sched_getaffinity(0))) != threads:
        return False
    openmp = ctypes.CDLL(str(path))

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p)  # type: ignore[untyped-decorator]
    def pin(_: object) -> None:
        os.sched_setaffinity(0, {cores[openmp.omp_get_thread_num()]})  # 0: the calling thread

    openmp.GOMP_parallel(pin, None, threads, 0)
    return True


def prepare(params: Params) -> Mode:
    """Prepares a training: sets the threads, chooses the mode and prints it; raises UserError for a missing device."""
    limit_threads(params.threads)
    try:
        mode = choose_mode(params.device, params.deterministic == "on")
    except DeviceError as error:
        raise UserError(f"params.yaml: {error}") from None
    if mode.device.type == "cpu":  # on a GPU it would confine the threads of loader, driver and autograd to one core
        pin_threads(params.threads)
    print(f"mode: {mode.name}, {params.threads} threads ({mode.reason})", flush=True)
    return mode


def prepare_evaluation(params: Params) -> torch.device:
    """Prepares an evaluation: sets the threads, chooses the device and prints it; raises UserError as `prepare`."""
    limit_threads(params.threads)
    try:
        device = choose_device(params.device)
    except DeviceError as error:
        raise UserError(f"params.yaml: {error}") from None
    if device.type == "cuda" and params.deterministic == "on":
        repeat_exactly()
    print(f"evaluating on {device.type}, {params.threads} threads", flush=True)
    return device


def trained_with(mode: Mode, threads: int) -> dict[str, object]:
    """Returns what determines the bits of a training beside its inputs: libraries, mode, device and threads.

    The device is a GPU's name, or `cpu` with the largest instruction set that PyTorch uses on it.
    """
    libraries: dict[str, str] = {name: distribution(name).version for name in ("numpy", "torch")}
    device = f"cpu {torch.backends.cpu.get_cpu_capability()}"
    if mode.device.type == "cuda":
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        libraries |= {"cuda": str(torch.version.cuda), "cudnn": str(cudnn)}
        device = torch.cuda.get_device_name(mode.device)
    return {"libraries": libraries, "mode": mode.name, "device": device, "threads": threads}


def lock_device(device: torch.device) -> AbstractContextManager[None]:
    """Holds a lock on the device, so that only one training at a time uses it."""
    file = work_folder() / "locks" / f"{device.type}{device.index or 0}.lock"
    return hold_lock(file, f"waiting for another training to leave {device}")


class StopSignals:
    """Records SIGINT and SIGTERM until the work can be saved."""

    def __init__(self) -> None:
        self.received = 0  # the signal's number once there is one

    def __enter__(self) -> "StopSignals":
        self._handlers = {number: signal.signal(number, self._record) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _record(self, number: int, _: FrameType | None) -> None:
        self.received = number

    def check(self) -> None:
        """Raises Stopped if a signal was received."""
        if self.received:
            raise Stopped(self.received)
