"""The choice of device, precision, memory format and CUDA graphs."""

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
    """The requested device does not exist."""


@dataclass(frozen=True)
class Mode:
    """How a training computes.

    `autocast` is the precision of matrix products, None for float32. `reason` explains the choice to the user.
    `captured`: each step runs as one CUDA graph. `exact`: runs repeat bit for bit on this machine.
    """

    device: torch.device
    autocast: torch.dtype | None
    memory_format: torch.memory_format
    reason: str
    captured: bool = False
    exact: bool = True

    def cast(self) -> AbstractContextManager[object]:
        """Returns an autocast context for the chosen precision."""
        return torch.autocast(self.device.type, self.autocast or torch.bfloat16, enabled=self.autocast is not None)

    def place(self, images: Tensor) -> Tensor:
        """Moves images [N, C, H, W] to the device in its memory format."""
        return images.to(self.device, memory_format=self.memory_format, non_blocking=True)

    def place_network(self, network: Network) -> Network:
        """Moves a network to the device in its memory format."""
        return network.to(self.device, memory_format=self.memory_format)  # type: ignore[call-overload,no-any-return]

    @property
    def name(self) -> str:
        """A short name with everything that affects the bits of a result; checkpoints are keyed by it."""
        precision = "float32" if self.autocast is None else str(self.autocast).removeprefix("torch.")
        layout = "channels_last" if self.memory_format == torch.channels_last else "contiguous"
        flags = ["captured"] * self.captured + ["exact"] * (self.exact and self.device.type == "cuda")
        return "/".join([self.device.type, precision, layout, *flags])


def choose_device(device: DeviceName = "auto") -> torch.device:
    """Returns the GPU if there is one and `device` is not cpu; raises DeviceError for cuda without a GPU."""
    if device == "cuda" and not torch.cuda.is_available():
        why = "this PyTorch was built without CUDA" if torch.version.cuda is None else "PyTorch finds no NVIDIA GPU"
        raise DeviceError(f"device is cuda, but {why}; set it to auto or cpu")
    if device != "cpu" and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def repeat_exactly() -> None:
    """Makes PyTorch deterministic on a GPU; must be called before the first matrix product."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # cuBLAS reads it when it starts
    torch.use_deterministic_algorithms(True)


@contextmanager
def exact_float32() -> Iterator[None]:
    """A context without TF32, so that a GPU multiplies float32 with all 23 bits of the fraction."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


def choose_mode(device: DeviceName = "auto", deterministic: bool = False) -> Mode:
    """Returns the fastest mode of the device that `choose_device` returns; raises DeviceError as that does.

    It uses bfloat16 where the hardware supports it, and CUDA graphs on a GPU. `deterministic` makes a GPU repeat bit
    for bit, and slower; a CPU always repeats for a given number of threads.
    """
    chosen = choose_device(device)
    if chosen.type == "cpu":
        fast = torch.cpu._is_avx512_bf16_supported()
        reason = f"this CPU has {'' if fast else 'no '}AVX512-bf16"
        return Mode(chosen, torch.bfloat16 if fast else None, torch.channels_last, reason)
    if deterministic:
        repeat_exactly()
    torch.backends.cudnn.benchmark = not deterministic  # tries kernels; the choice varies between runs
    name = torch.cuda.get_device_name(chosen)
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return Mode(chosen, torch.bfloat16, torch.channels_last, f"{name} has bfloat16", True, deterministic)
    return Mode(chosen, None, torch.contiguous_format, f"{name} has no bfloat16", True, deterministic)
