"""A captured step takes the same steps as an eager one; the recorder is real where there is a GPU, else stands in."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.device import Mode, choose_mode
from models.engine import Clock, fit
from models.feeds import Gathered
from models.learners.base import Learner
from models.learners.classifier import ClassifierLearner
from models.learners.gan import GanLearner
from models.learners.vae import VaeLearner
from models.state import load_networks, load_optimisers, network_tensors, optimiser_tensors
from models.steps import WARM_UP, Captured, Eager, Graph, Step, make_step
from models.streams import Sampler

Make = Callable[[], Learner]


def stand_in(body: Callable[[], Tensor]) -> Graph:
    """Warms up as a recording does, then runs the operations instead of replaying them."""
    for _ in range(WARM_UP):
        body()
    return body


@pytest.fixture(
    params=["gan", "gan-conditional", "gan-augmented", "gan-penalised", "gan-in-parts", "vae", "classifier"]
)
def make(request, mode: Mode, gan_settings, vae_settings, classifier_settings) -> Make:  # type: ignore[no-untyped-def]
    captured = replace(mode, captured=True)
    penalised = {"loss": "relativistic", "discriminator_norm": "none", "r1": 1.0, "penalty_every": 2}
    makers = {
        "gan": lambda: GanLearner(gan_settings(), 28, 1, captured),
        "gan-conditional": lambda: GanLearner(gan_settings(), 28, 1, captured, classes=4),
        "gan-augmented": lambda: GanLearner(gan_settings(flip="on"), 28, 1, captured, augmented=True),
        "gan-penalised": lambda: GanLearner(gan_settings(**penalised), 28, 1, captured),
        "gan-in-parts": lambda: GanLearner(gan_settings(micro_batch=3), 28, 1, captured),
        "vae": lambda: VaeLearner(vae_settings(), 28, 1, captured),
        "classifier": lambda: ClassifierLearner(classifier_settings(), "classifier", 1, 4, captured),
    }
    return makers[request.param]  # type: ignore[no-any-return]


def run(learner: Learner, step: Step, images, clock: Clock, until: int = 10**9) -> None:  # type: ignore[no-untyped-def]
    feed = Gathered(images, Sampler(len(images), learner.settings.seed))
    for _ in fit(learner, step, feed, images, clock):
        if clock.n_images >= until:
            break


def tensors(learner: Learner) -> dict[str, Tensor]:
    found = network_tensors(learner.networks) | optimiser_tensors(learner.optimisers)
    return {name: value.clone() for name, value in found.items()}


def test_captured_equals_eager_bit_for_bit(make: Make, images) -> None:  # type: ignore[no-untyped-def]
    eager, captured, clocks = make(), make(), (Clock(), Clock())
    run(eager, Eager(eager), images, clocks[0])
    run(captured, Captured(captured, stand_in), images, clocks[1])
    assert clocks[0].rows == clocks[1].rows
    for name, value in tensors(eager).items():
        assert torch.equal(tensors(captured)[name], value), name


def test_recording_leaves_the_learner_as_it_was(make: Make, images) -> None:  # type: ignore[no-untyped-def]
    """A run that is resumed records again, in the middle; an unbroken one did so at its start."""
    unbroken, whole = make(), Clock()
    run(unbroken, Captured(unbroken, stand_in), images, whole)
    first, clock = make(), Clock()
    run(first, Captured(first, stand_in), images, clock, until=24)
    saved = {name: value.contiguous() for name, value in tensors(first).items()}
    second = make()
    load_networks(second.networks, saved)
    load_optimisers(second.optimisers, saved)
    run(second, Captured(second, stand_in), images, clock)
    assert clock.rows == whole.rows
    for name, value in tensors(unbroken).items():
        assert torch.equal(tensors(second)[name], value), name


def test_a_step_that_cannot_be_recorded_runs_all_the_same_and_says_why(make: Make, images) -> None:  # type: ignore[no-untyped-def]
    def refuse(body: Callable[[], Tensor]) -> Graph:
        body()
        raise RuntimeError("operation not permitted when stream is capturing\nmore of it")

    eager, captured, clocks = make(), make(), (Clock(), Clock())
    run(eager, Eager(eager), images, clocks[0])
    with pytest.warns(UserWarning, match=r"cannot be captured .*\(operation not permitted when stream is capturing\)"):
        run(captured, Captured(captured, refuse), images, clocks[1])
    assert clocks[0].rows == clocks[1].rows


def test_the_mode_decides(mode: Mode, gan_settings) -> None:  # type: ignore[no-untyped-def]
    for captured, kind in ((False, Eager), (True, Captured)):
        learner = GanLearner(gan_settings(), 28, 1, replace(mode, captured=captured))
        assert isinstance(make_step(learner), kind)


@pytest.mark.gpu
@pytest.mark.parametrize("micro_batch", [0, 3])
def test_on_a_gpu_graphs_equal_eager_steps_and_repeat(gan_settings, images, micro_batch: int) -> None:  # type: ignore[no-untyped-def]
    mode = choose_mode("cuda", deterministic=True)
    runs = []
    for kind in (Captured, Captured, Eager):
        learner, clock = GanLearner(gan_settings(micro_batch=micro_batch), 28, 1, mode), Clock()
        run(learner, kind(learner), images, clock)
        runs.append((clock.rows, tensors(learner)))
    assert runs[0][0] == runs[1][0] == runs[2][0]
    assert all(torch.equal(runs[0][1][name], other[name]) for _, other in runs[1:] for name in other)


@pytest.mark.gpu
def test_on_a_gpu_a_batch_in_parts_takes_less_memory(gan_settings) -> None:  # type: ignore[no-untyped-def]
    mode, peaks = replace(choose_mode("cuda"), captured=False), []
    for micro_batch in (0, 64):
        learner = GanLearner(gan_settings(batch=1024, channels=64, micro_batch=micro_batch), 64, 1, mode)
        torch.cuda.reset_peak_memory_stats()
        Eager(learner)(torch.zeros(1024, 1, 64, 64, dtype=torch.uint8, device="cuda"), None, 0, 1.0)
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < peaks[0] / 2
