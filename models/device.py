"""The one place that decides how a machine trains: device, mixed precision and memory format."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Mode:
    """How tensors are laid out and multiplied; `reason` is for people."""

    device: torch.device
    autocast: torch.dtype | None
    memory_format: torch.memory_format
    reason: str

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
        """Short and stable: it keys checkpoints."""
        precision = "float32" if self.autocast is None else str(self.autocast).removeprefix("torch.")
        layout = "channels_last" if self.memory_format == torch.channels_last else "contiguous"
        return f"{self.device.type}/{precision}/{layout}"


def choose_mode(device: torch.device | None = None) -> Mode:
    """CUDA where it is there, else the CPU; bfloat16 and channels_last where the hardware multiplies in it."""
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Mode(device, torch.bfloat16, torch.channels_last, f"{torch.cuda.get_device_name()} has bfloat16")
        return Mode(device, None, torch.contiguous_format, f"{torch.cuda.get_device_name()} has no bfloat16")
    if torch.cpu._is_avx512_bf16_supported():
        return Mode(device, torch.bfloat16, torch.channels_last, "this CPU has AVX512-bf16")
    return Mode(device, None, torch.channels_last, "this CPU has no AVX512-bf16")
