"""Stand-ins on a CPU for the recorder of CUDA graphs and for torch.cuda, which refuse what a stream capture refuses.

A captured step may neither read a value from the device nor use one from host memory: both synchronise, and the graph
would keep that value for all replays.
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

HOST = "meta"  # stands for host memory, where tensors are created by default
READS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "is_nonzero", "equal"}
NOT_PERMITTED = "operation not permitted when stream is capturing"


def stand_in(body: Callable[[], Tensor]) -> Graph:
    """Warms up as a capture does, then runs the operations under the rules of a capture instead of replaying them."""
    for _ in range(WARM_UP):
        body()

    def replay() -> Tensor:
        with capture_rules():
            return body()

    replay()
    return replay


@contextmanager
def capture_rules() -> Iterator[None]:
    """A context in which an operation that a capture refuses raises RuntimeError."""
    with _Rules(), torch.device(HOST):
        yield


class _Rules(TorchDispatchMode):
    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operator._schema.name.removeprefix("aten::")
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if name in READS or (name == "index" and any(one.dtype == torch.bool for one in tensors[1:])):
            raise RuntimeError(f"{NOT_PERMITTED}: {name} reads a value from the device")
        if name == "lift_fresh" or any(one.device.type == HOST for one in tensors):
            raise RuntimeError(f"{NOT_PERMITTED}: {name} uses values from host memory")
        return operator(*args, **(kwargs or {}))


class Cuda:
    """Replaces parts of torch.cuda on a machine without a GPU: operations run at once, and calls are logged.

    With `fault`, the end of a capture raises an error, as CUDA does after a refused operation.
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
