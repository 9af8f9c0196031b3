"""Execution of a learner's step: eagerly, or captured once as a CUDA graph and replayed."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from models.pixels import to_model
from models.training.learner import Batch, Learner, Schedule
from models.training.state import network_tensors, optimiser_tensors

WARM_UP = 3  # steps before a capture, in which libraries choose their algorithms

Graph = Callable[[], Tensor]  # runs one step and returns its losses
Recorder = Callable[[Graph], Graph]
FallBack = Callable[[str], None]  # receives the reason why steps are not captured


class CaptureError(RuntimeError):
    """A step could not be captured as a CUDA graph; the text is the first cause."""


class Step(Protocol):
    """A callable that runs one step of a learner."""

    def __call__(self, raw: Tensor, labels: Tensor | None, n_images: int, lr_scale: float) -> Tensor:
        """Updates the learner and returns its losses, float32 [L] in the order of `Learner.losses`.

        `raw` are images uint8 [N, C, H, W] and `labels` int64 [N], both on the device. The step starts at `n_images`,
        and learning rates are multiplied by `lr_scale`. The result is valid until the next call.
        """


def make_step(learner: Learner, fall_back: FallBack | None = None) -> Step:
    """Returns the step that the learner's mode asks for.

    If a step cannot be captured, the first call raises CaptureError; with `fall_back`, it calls that with the cause and
    runs eagerly, which is slower.
    """
    return Captured(learner, fall_back=fall_back) if learner.mode.captured else Eager(learner)


class Eager:
    """Runs each step operation by operation: for a CPU, and where a step cannot be captured."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner

    def __call__(self, raw: Tensor, labels: Tensor | None, n_images: int, lr_scale: float) -> Tensor:
        """See Step."""
        random = self._learner.sample_noise(n_images, len(raw))
        return run_step(self._learner, raw, labels, random, self._learner.schedule(n_images, lr_scale))


class Captured:
    """Captures one CUDA graph per variant of the step and replays it.

    Static buffers hold what changes between replays: images, labels, random numbers and the schedule's rates. The graph
    includes the updates of weights, EMA and moments. A capture does not change the learner, so a resumed run, which
    captures again, takes the same steps as an uninterrupted one.
    """

    def __init__(self, learner: Learner, recorder: Recorder | None = None, fall_back: FallBack | None = None) -> None:
        self._learner, self._recorder, self._fall_back = learner, recorder or CudaGraphs(), fall_back
        self._inputs: dict[str, Tensor] = {}  # images, labels and random numbers
        self._rates: dict[str, Tensor] = {}
        self._graphs: dict[str, Graph] = {}

    def __call__(self, raw: Tensor, labels: Tensor | None, n_images: int, lr_scale: float) -> Tensor:
        """See Step."""
        schedule = self._learner.schedule(n_images, lr_scale)
        inputs = {"raw": raw, **self._learner.sample_noise(n_images, len(raw))}
        self._fill(inputs if labels is None else inputs | {"labels": labels}, schedule.rates)
        if schedule.variant not in self._graphs:
            self._graphs[schedule.variant] = self._capture(schedule.variant)
        return self._graphs[schedule.variant]()

    def _fill(self, inputs: Mapping[str, Tensor], rates: Mapping[str, float | Tensor]) -> None:
        device = self._learner.mode.device
        if not self._graphs:
            self._inputs = {name: torch.empty_like(value, device=device) for name, value in inputs.items()}
            self._rates = {name: torch.zeros((), device=device) for name in rates}
        for name, value in inputs.items():
            self._inputs[name].copy_(value)
        for name, rate in rates.items():
            self._rates[name].fill_(rate)  # a float is an argument of the kernel, so nothing waits for a copy

    def _capture(self, variant: str) -> Graph:
        schedule = Schedule(self._rates, variant)
        random = dict(self._inputs)
        raw, labels = random.pop("raw"), random.pop("labels", None)

        def body() -> Tensor:
            return run_step(self._learner, raw, labels, random, schedule)

        def state() -> dict[str, Tensor]:
            return network_tensors(self._learner.networks) | optimiser_tensors(self._learner.optimisers)

        return capture(body, state, self._recorder, self._fall_back)


def capture(
    body: Graph, state: Callable[[], dict[str, Tensor]], recorder: Recorder, fall_back: FallBack | None = None
) -> Graph:
    """Captures `body` and restores the tensors of `state`, which `body` changes.

    Raises CaptureError where that fails; with `fall_back`, it calls that with the cause and returns `body`.
    """
    before = {name: value.clone() for name, value in state().items()}
    try:
        return recorder(body)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        cause = first_cause(error)
        if fall_back is None:
            raise CaptureError(cause) from error
        fall_back(cause)
        return body
    finally:
        for name, value in state().items():
            value.copy_(before[name]) if name in before else value.zero_()  # moments and step counts start at 0


def first_cause(error: BaseException) -> str:
    """Returns the first line of the original error: ending a failed capture raises another one."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).partition("\n")[0]


def run_step(
    learner: Learner, raw: Tensor, labels: Tensor | None, random: Mapping[str, Tensor], schedule: Schedule
) -> Tensor:
    """Converts the images, runs the learner's step, and returns the losses float32 [L]."""
    losses = learner.step(Batch(learner.mode.place(to_model(raw)), labels, random), schedule)
    return torch.stack([losses[name] for name in learner.losses])


class CudaGraphs:
    """Captures CUDA graphs that share one memory pool, because they are replayed one after another."""

    def __init__(self) -> None:
        self._pool: Any = None  # for `torch.cuda.graph`
        self._stream: torch.cuda.Stream | None = None

    def __call__(self, body: Graph) -> Graph:
        """Runs `body` WARM_UP times, which changes its tensors, then captures it without running it."""
        # All captures use one stream, so that cuBLAS reuses the workspace of the first.
        self._stream = stream = self._stream or torch.cuda.Stream()  # type: ignore[no-untyped-call]
        current = torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream), warnings.catch_warnings():
            # A capturable optimiser warns that it runs outside of a graph.
            warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")
            for _ in range(WARM_UP):
                body()
        current.wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # The outer context restores the current stream if ending a failed capture raises; torch does not. With the
        # error mode "global", a loader's thread could not use the device during the capture.
        with (
            torch.cuda.stream(current),
            torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"),
        ):
            losses = body()
        self._pool = graph.pool()

        def replay() -> Tensor:
            graph.replay()
            return losses

        return replay
