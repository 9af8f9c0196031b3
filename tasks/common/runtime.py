"""What a computing stage settles before its first tensor: threads, device, turns on it, and how it is stopped."""

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
from tasks.common.paths import in_turn, work_folder


def limit_threads(threads: int) -> None:
    """Sets the number of threads of torch and of NumPy's BLAS."""
    torch.set_num_threads(threads)
    threadpoolctl.threadpool_limits(threads)  # type: ignore[no-untyped-call]


def spread_threads(threads: int) -> bool:
    """Gives each of torch's threads a core of its own, where they are as many as the cores; says whether it did.

    Torch's threads meet after every operation. Where other processes compute, Linux may leave two of them on one core,
    each waiting there for the other to get its turn, and the training falls to a hundredth of its speed. With cores to
    spare that does not happen, and two trainings that held the same ones would share them in vain.
    """
    libraries = [Path(one["filepath"]) for one in threadpoolctl.threadpool_info() if one["user_api"] == "openmp"]
    ours = next((one for one in libraries if "gomp" in one.name and "torch" in one.parts), None)
    if ours is None or not hasattr(os, "sched_setaffinity") or len(cores := sorted(os.sched_getaffinity(0))) != threads:
        return False
    library = ctypes.CDLL(str(ours))

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p)  # type: ignore[untyped-decorator]
    def settle(_: object) -> None:
        os.sched_setaffinity(0, {cores[library.omp_get_thread_num()]})  # 0: the thread that calls

    library.GOMP_parallel(settle, None, threads, 0)
    return True


def prepare(params: Params) -> Mode:
    """Sets the threads, chooses the mode and prints it; raises UserError when the device asked for is not there."""
    limit_threads(params.threads)
    try:
        mode = choose_mode(params.device, params.deterministic == "on")
    except DeviceError as error:
        raise UserError(f"params.yaml: {error}") from None
    if mode.device.type == "cpu":  # or the threads of feed, driver and autograd would get one core
        spread_threads(params.threads)
    print(f"mode: {mode.name}, {params.threads} threads ({mode.reason})", flush=True)
    return mode


def prepare_evaluation(params: Params) -> torch.device:
    """Sets the threads, and chooses and prints where images are drawn and looked at and figures are computed.

    Raises UserError when the device asked for is not there.
    """
    limit_threads(params.threads)
    try:
        device = choose_device(params.device)
    except DeviceError as error:
        raise UserError(f"params.yaml: {error}") from None
    if device.type == "cuda" and params.deterministic == "on":
        repeat_exactly()
    print(f"judging on {device.type}, {params.threads} threads", flush=True)
    return device


def trained_with(mode: Mode, threads: int) -> dict[str, object]:
    """What shapes the bits of a training beside its inputs: libraries, mode, device and threads.

    The device is a GPU's name, or `cpu` with the largest instruction set that PyTorch uses there.
    """
    libraries: dict[str, str] = {name: distribution(name).version for name in ("numpy", "torch")}
    if mode.device.type == "cuda":
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        libraries |= {"cuda": str(torch.version.cuda), "cudnn": str(cudnn)}
        device = torch.cuda.get_device_name(mode.device)
    else:
        device = f"cpu {torch.backends.cpu.get_cpu_capability()}"
    return {"libraries": libraries, "mode": mode.name, "device": device, "threads": threads}


def turn_on(device: torch.device) -> AbstractContextManager[None]:
    """Holds the device for this process: trainings take turns."""
    file = work_folder() / "locks" / f"{device.type}{device.index or 0}.lock"
    return in_turn(file, f"waiting for another training to leave {device}")


class StopSignals:
    """SIGINT and SIGTERM, remembered until the work is at a place where it can be saved."""

    def __init__(self) -> None:
        self._number = 0

    def __enter__(self) -> "StopSignals":
        self._before = {number: signal.signal(number, self._remember) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, _: FrameType | None) -> None:
        self._number = number

    @property
    def came(self) -> bool:
        """Whether one came."""
        return self._number != 0

    def check(self) -> None:
        """Raises Stopped if one came."""
        if self._number:
            raise Stopped(self._number)
