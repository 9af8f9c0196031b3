"""What CUDA's stream capture refuses, on a CPU: a stand-in for the recorder, and one for torch.cuda itself.

While a step is captured it may not read a number from the device, nor take one from the host's memory: either waits for
the device, and the graph would keep the number of that moment for ever.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models.training.steps import WARM_UP, Graph

HOST = "meta"  # where tensors land that are made without a device: on a machine with a GPU that is the host's memory
READS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "is_nonzero", "equal"}
NOT_PERMITTED = "operation not permitted when stream is capturing"


def stand_in(body: Callable[[], Tensor]) -> Graph:
    """Warms up as a recording does, then runs the operations, by the rules of a capture, instead of replaying them."""
    for _ in range(WARM_UP):
        body()

    def replay() -> Tensor:
        with capture_rules():
            return body()

    replay()
    return replay


@contextmanager
def capture_rules() -> Iterator[None]:
    """Within it RuntimeError is raised by what a capture refuses."""
    with _Rules(), torch.device(HOST):
        yield


class _Rules(TorchDispatchMode):
    def __torch_dispatch__(self, operator: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        name = operator._schema.name.removeprefix("aten::")
        tensors = [leaf for leaf in tree_leaves((given, named)) if isinstance(leaf, Tensor)]
        if name in READS or (name == "index" and any(one.dtype == torch.bool for one in tensors[1:])):
            raise RuntimeError(f"{NOT_PERMITTED}: {name} reads a number from the device")
        if name == "lift_fresh" or any(one.device.type == HOST for one in tensors):
            raise RuntimeError(f"{NOT_PERMITTED}: {name} takes numbers from the host's memory")
        return operator(*given, **(named or {}))


class Cuda:
    """Stands in for torch.cuda on a machine without a GPU: work runs at once, and what was asked is kept.

    `fault` is what ends a capture with an error of its own, as CUDA does once an operation was refused.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fault: bool = False) -> None:
        self.fault, self.captures, self.streams = fault, list[dict[str, Any]](), ["default"]
        self.log: list[tuple[str, ...]] = []
        for name, value in {
            "Stream": self._stream,
            "Event": lambda: _Event(self),
            "CUDAGraph": lambda: _Graph(self),
            "current_stream": lambda device=None: _Stream(self, self.streams[-1]),
            "stream": self._in_stream,
            "graph": self._capture,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)

    def _stream(self, device: object = None) -> "_Stream":
        return _Stream(self, f"stream {len(self.log)}")

    @contextmanager
    def _in_stream(self, stream: "_Stream") -> Iterator[None]:
        before = list(self.streams)
        self.streams.append(stream.name)
        try:
            yield
        finally:
            self.streams[:] = before

    @contextmanager
    def _capture(self, graph: "_Graph", **options: Any) -> Iterator[None]:
        self.captures.append(options)
        self.streams.append("capture")
        try:
            with capture_rules():
                yield
        except RuntimeError:
            raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904 - as CUDA does
        if self.fault:
            raise RuntimeError("the capture was invalidated")
        self.streams.pop()  # torch leaves the stream only where ending the capture succeeds


class _Stream:
    def __init__(self, cuda: Cuda, name: str) -> None:
        self.cuda, self.name = cuda, name

    def wait_stream(self, other: "_Stream") -> None:
        self.cuda.log.append((self.name, "waits for", other.name))

    def wait_event(self, event: "_Event") -> None:
        self.cuda.log.append((self.name, "waits for", event.stream))


class _Event:
    def __init__(self, cuda: Cuda) -> None:
        self.cuda, self.stream = cuda, ""

    def record(self, stream: _Stream) -> None:
        self.stream = stream.name

    def synchronize(self) -> None:
        pass


class _Graph:
    def __init__(self, cuda: Cuda) -> None:
        self._number = len(cuda.captures)

    def pool(self) -> tuple[int, int]:
        return 0, self._number

    def replay(self) -> None:
        pass
