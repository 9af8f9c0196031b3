"""The one place that decides how a machine trains: device, precision, memory format, and whether steps are captured."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

DeviceName = Literal["auto", "cpu", "cuda"]
Network = TypeVar("Network", bound=nn.Module)


class DeviceError(Exception):
    """The device that was asked for is not there."""


@dataclass(frozen=True)
class Mode:
    """How tensors are laid out and multiplied; `reason` is for people.

    `captured`: a step runs as one CUDA graph. `exact`: a run repeats bit for bit on this machine.
    """

    device: torch.device
    autocast: torch.dtype | None
    memory_format: torch.memory_format
    reason: str
    captured: bool = False
    exact: bool = True

    def cast(self) -> AbstractContextManager[object]:
        """A context in which matrix products run in the chosen precision."""
        return torch.autocast(self.device.type, self.autocast or torch.bfloat16, enabled=self.autocast is not None)

    def place(self, images: Tensor) -> Tensor:
        """Moves images [N, C, H, W] to the device in its memory format."""
        return images.to(self.device, memory_format=self.memory_format, non_blocking=True)

    def place_network(self, network: Network) -> Network:
        """Moves a network to the device in its memory format."""
        return network.to(self.device, memory_format=self.memory_format)  # type: ignore[call-overload,no-any-return]

    @property
    def name(self) -> str:
        """Short and stable: it keys checkpoints, so what shapes the bits is in it."""
        precision = "float32" if self.autocast is None else str(self.autocast).removeprefix("torch.")
        layout = "channels_last" if self.memory_format == torch.channels_last else "contiguous"
        how = ["captured"] * self.captured + ["exact"] * (self.exact and self.device.type == "cuda")
        return "/".join([self.device.type, precision, layout, *how])


def choose_device(device: DeviceName = "auto") -> torch.device:
    """CUDA where it is there and the CPU is not asked for; raises DeviceError for a GPU that is not there."""
    if device == "cuda" and not torch.cuda.is_available():
        why = "this PyTorch was built without CUDA" if torch.version.cuda is None else "PyTorch finds no NVIDIA GPU"
        raise DeviceError(f"device is cuda, but {why}; set it to auto or cpu")
    if device != "cpu" and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def repeat_exactly() -> None:
    """Makes a GPU repeat itself bit for bit, or refuse what it cannot repeat; to be called before its first product."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read when cuBLAS starts; else sums vary in order
    torch.use_deterministic_algorithms(True)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Within, a GPU multiplies float32 as a CPU does, without TF32, which keeps 10 bits of a fraction's 23."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    convolutions.allow_tf32 = products.allow_tf32 = False
    try:
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before


def choose_mode(device: DeviceName = "auto", deterministic: bool = False) -> Mode:
    """The fastest mode of the device: CUDA where it is there and the CPU is not asked for.

    bfloat16 and channels_last where the hardware multiplies in it; on CUDA, steps captured as graphs. `deterministic`
    makes CUDA repeat itself bit for bit, at some speed; a CPU does so anyway, for a given number of threads. Raises
    DeviceError for a GPU that is not there.
    """
    chosen = choose_device(device)
    if chosen.type == "cuda":
        return _cuda_mode(chosen, deterministic)
    if torch.cpu._is_avx512_bf16_supported():
        return Mode(chosen, torch.bfloat16, torch.channels_last, "this CPU has AVX512-bf16")
    return Mode(chosen, None, torch.channels_last, "this CPU has no AVX512-bf16")


def _cuda_mode(device: torch.device, deterministic: bool) -> Mode:
    name = torch.cuda.get_device_name(device)
    if deterministic:
        repeat_exactly()
    torch.backends.cudnn.benchmark = not deterministic  # the fastest kernels by trial, which may differ from run to run
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return Mode(device, torch.bfloat16, torch.channels_last, f"{name} has bfloat16", True, deterministic)
    return Mode(device, None, torch.contiguous_format, f"{name} has no bfloat16", True, deterministic)
