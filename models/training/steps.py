"""Two ways to run a learner's step: operation by operation, or recorded once as a CUDA graph and replayed."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from models.pixels import to_model
from models.training.learner import Batch, Learner, Schedule
from models.training.state import network_tensors, optimiser_tensors

WARM_UP = 3  # steps before a recording, in which libraries choose their algorithms

Graph = Callable[[], Tensor]  # takes one step and returns its losses
Record = Callable[[Callable[[], Tensor]], Graph]
FallBack = Callable[[str], None]  # is told why steps are not captured


class CaptureError(RuntimeError):
    """A step that was asked to be captured could not be recorded as a CUDA graph; the text is the first cause."""


class Step(Protocol):
    """One update of a learner."""

    def __call__(self, raw: Tensor, labels: Tensor | None, n_images: int, lr_scale: float) -> Tensor:
        """Losses float32 [L] in the order of `Learner.losses`, from uint8 [N, C, H, W] and int64 [N] on the device.

        The clock stands at `n_images`; learning rates are multiplied by `lr_scale`. The result is good until the next
        call.
        """
        ...


def make_step(learner: Learner, fall_back: FallBack | None = None) -> Step:
    """The way to run steps that the learner's mode asks for.

    Where a step cannot be captured, the first call raises CaptureError; with `fall_back`, this is told the cause
    instead, and Python runs the operations, which is slower.
    """
    return Captured(learner, fall_back=fall_back) if learner.mode.captured else Eager(learner)


class Eager:
    """Every operation is started by Python: right for a CPU, and where a step cannot be recorded."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner

    def __call__(self, raw: Tensor, labels: Tensor | None, n_images: int, lr_scale: float) -> Tensor:
        """See Step."""
        random = self._learner.sample_noise(n_images, len(raw))
        return run_step(self._learner, raw, labels, random, self._learner.schedule(n_images, lr_scale))


class Captured:
    """A graph per variant of the step, fed through buffers that stay where they are.

    What changes between replays comes in through the buffers: images, labels, random numbers and the schedule's rates.
    Updates of weights, averages and moments are part of the graph. Recording leaves the learner as it was, so that a
    run that is resumed, and records anew, takes the same steps as one that never stopped.
    """

    def __init__(self, learner: Learner, record: Record | None = None, fall_back: FallBack | None = None) -> None:
        self._learner, self._record, self._fall_back = learner, record or CudaGraphs(), fall_back
        self._raw, self._labels = torch.empty(0), torch.empty(0)
        self._random: dict[str, Tensor] = {}
        self._rates: dict[str, Tensor] = {}
        self._graphs: dict[str, Graph] = {}

    def __call__(self, raw: Tensor, labels: Tensor | None, n_images: int, lr_scale: float) -> Tensor:
        """See Step."""
        schedule = self._learner.schedule(n_images, lr_scale)
        self._fill(raw, labels, self._learner.sample_noise(n_images, len(raw)), schedule.rates)
        if schedule.variant not in self._graphs:
            self._graphs[schedule.variant] = self._capture(schedule.variant, labelled=labels is not None)
        return self._graphs[schedule.variant]()

    def _fill(
        self, raw: Tensor, labels: Tensor | None, random: Mapping[str, Tensor], rates: Mapping[str, float | Tensor]
    ) -> None:
        if not self._graphs:
            device = self._learner.mode.device
            self._raw, self._random = _room(raw, device), {name: _room(each, device) for name, each in random.items()}
            self._labels = torch.empty(0) if labels is None else _room(labels, device)
            self._rates = {name: torch.zeros((), device=device) for name in rates}
        self._raw.copy_(raw)
        if labels is not None:
            self._labels.copy_(labels)
        for name, value in random.items():
            self._random[name].copy_(value)
        for name, rate in rates.items():
            self._rates[name].fill_(rate)  # a number goes along with the kernel, so that nothing waits for a copy

    def _capture(self, variant: str, labelled: bool) -> Graph:
        schedule = Schedule(self._rates, variant)

        def body() -> Tensor:
            return run_step(self._learner, self._raw, self._labels if labelled else None, self._random, schedule)

        return captured(body, lambda: _state(self._learner), self._record, self._fall_back)


def _room(like: Tensor, device: torch.device) -> Tensor:
    return torch.empty(like.shape, dtype=like.dtype, device=device)


def captured(
    body: Callable[[], Tensor],
    state: Callable[[], dict[str, Tensor]],
    record: Record,
    fall_back: FallBack | None = None,
) -> Graph:
    """Records `body`, which changes the tensors of `state`, and leaves these as they were.

    Raises CaptureError where it cannot be recorded; with `fall_back`, this is told the cause, and `body` is returned.
    """
    before = {name: value.clone() for name, value in state().items()}
    try:
        return record(body)
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
            value.copy_(before[name]) if name in before else value.zero_()  # moments begin at 0, as do counts


def first_cause(error: BaseException) -> str:
    """The first line of the error that all others followed from: ending a broken capture raises one of its own."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).partition("\n")[0]


def run_step(
    learner: Learner, raw: Tensor, labels: Tensor | None, random: Mapping[str, Tensor], schedule: Schedule
) -> Tensor:
    """The step on bytes; losses float32 [L]."""
    batch = Batch(learner.mode.place(to_model(raw)), labels, random)
    losses = learner.step(batch, schedule)
    return torch.stack([losses[name] for name in learner.losses])


def _state(learner: Learner) -> dict[str, Tensor]:
    """The learner's own tensors, not copies, as they are now."""
    return network_tensors(learner.networks) | optimiser_tensors(learner.optimisers)


class CudaGraphs:
    """Records steps as CUDA graphs that share one memory pool, since they are replayed one after another."""

    def __init__(self) -> None:
        self._pool: Any = None  # what `torch.cuda.graph` takes
        self._stream: torch.cuda.Stream | None = None

    def __call__(self, body: Callable[[], Tensor]) -> Graph:
        """Runs `body` a few times, which does count as training, then records it without running it."""
        # One stream for all its steps: cuBLAS then finds the workspace of the first, which no other recorder frees.
        self._stream = aside = self._stream or torch.cuda.Stream()  # type: ignore[no-untyped-call]
        current = torch.cuda.current_stream()
        aside.wait_stream(current)
        with torch.cuda.stream(aside), _uncaptured_on_purpose():
            for _ in range(WARM_UP):
                body()
        current.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # The outer context leads back to the current stream where ending a broken capture raises: torch then stays on
        # the one it recorded. In the mode "global" a feed's thread could not use the device meanwhile.
        with (
            torch.cuda.stream(current),
            torch.cuda.graph(graph, pool=self._pool, stream=aside, capture_error_mode="thread_local"),
        ):
            losses = body()
        self._pool = graph.pool()

        def replay() -> Tensor:
            graph.replay()
            return losses

        return replay


@contextmanager
def _uncaptured_on_purpose() -> Iterator[None]:
    """Within it nothing warns that an optimiser made for graphs runs outside of one: the steps before one do."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")
        yield
