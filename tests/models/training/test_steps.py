"""A captured step takes the same steps as an eager one; the recorder is real where there is a GPU, else stands in."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from models.learners.classifier import ClassifierLearner
from models.learners.gan import GanLearner
from models.learners.vae import VaeLearner
from models.networks.norms import Float32
from models.training.device import Mode, choose_mode
from models.training.engine import TrainState, fit
from models.training.learner import Batch, Learner, Losses, Schedule
from models.training.loaders import Loader, MemoryMapped, OnDevice
from models.training.random import Sampler
from models.training.state import load_networks, load_optimisers, network_tensors, optimiser_tensors
from models.training.steps import Captured, CaptureError, CudaGraphs, Eager, Graph, Step, captured, make_step
from tests.models.training.capturing import Cuda, stand_in

Make = Callable[[], Learner]
FAULTS: dict[str, Callable[[Losses], Losses]] = {
    "a CPU scalar": lambda losses: losses | {"loss_g": losses["loss_g"] * torch.tensor(0.5)},
    "a tensor of the host": lambda losses: losses | {"loss_g": losses["loss_g"] + torch.zeros(())},
    "a synchronisation": lambda losses: losses | {"loss_g": losses["loss_g"] * losses["loss_g"].item()},
    "a count that hangs on values": lambda losses: losses | {"loss_d": losses["loss_d"].view(1).nonzero().sum()},
}


class Faulty(GanLearner):
    """A GAN's learner whose step does what no capture permits."""

    fault: Callable[[Losses], Losses]

    def step(self, batch: Batch, schedule: Schedule) -> Losses:
        return self.fault(super().step(batch, schedule))


@pytest.fixture(
    params=[
        "gan",
        "gan-conditional",
        "gan-augmented",
        "gan-augmented-penalised",
        "gan-nearest",
        "gan-spectral",
        "gan-penalised",
        "gan-in-parts",
        "vae",
        "vae-textbook",
        "classifier",
        "selfsupervised",
    ]
)
def make(request, mode: Mode, gan_settings, vae_settings, classifier_settings) -> Make:  # type: ignore[no-untyped-def]
    captured = replace(mode, captured=True)
    penalised = {"loss": "relativistic", "discriminator_norm": "none", "r1": 1.0, "penalty_every": 2}
    makers = {
        "gan": lambda: GanLearner(gan_settings(), 28, 1, captured),
        "gan-conditional": lambda: GanLearner(gan_settings(), 28, 1, captured, classes=4),
        "gan-augmented": lambda: GanLearner(gan_settings(flip="on"), 28, 1, captured, augmented=True),
        "gan-augmented-penalised": lambda: GanLearner(gan_settings(**penalised), 28, 1, captured, augmented=True),
        "gan-nearest": lambda: GanLearner(gan_settings(loss="hinge", upsample="nearest"), 28, 1, captured),
        "gan-spectral": lambda: GanLearner(gan_settings(discriminator_norm="spectral", r1=1.0), 28, 1, captured),
        "gan-penalised": lambda: GanLearner(gan_settings(**penalised), 28, 1, captured),
        "gan-in-parts": lambda: GanLearner(gan_settings(micro_batch=3), 28, 1, captured),
        "vae": lambda: VaeLearner(vae_settings(), 28, 1, captured),
        "vae-textbook": lambda: VaeLearner(vae_settings(reconstruction="summed_mse", flip="on"), 28, 1, captured),
        "classifier": lambda: ClassifierLearner(classifier_settings(), "classifier", 1, 4, captured),
        "selfsupervised": lambda: ClassifierLearner(classifier_settings(), "selfsupervised", 1, 0, captured),
    }
    return makers[request.param]  # type: ignore[no-any-return]


def run(learner: Learner, step: Step, images, train_state: TrainState, until: int = 10**9) -> None:  # type: ignore[no-untyped-def]
    sampler, device = Sampler(len(images), learner.settings.seed), learner.mode.device
    loader: Loader = OnDevice(images, sampler, device) if device.type == "cuda" else MemoryMapped(images, sampler)
    for _ in fit(learner, step, loader, images, train_state):
        if train_state.n_images >= until:
            break


def tensors(learner: Learner) -> dict[str, Tensor]:
    found = network_tensors(learner.networks) | optimiser_tensors(learner.optimisers)
    return {name: value.clone() for name, value in found.items()}


def test_captured_equals_eager_bit_for_bit(make: Make, images) -> None:  # type: ignore[no-untyped-def]
    eager, captured, clocks = make(), make(), (TrainState(), TrainState())
    run(eager, Eager(eager), images, clocks[0])
    run(captured, Captured(captured, stand_in), images, clocks[1])
    assert clocks[0].rows == clocks[1].rows
    for name, value in tensors(eager).items():
        assert torch.equal(tensors(captured)[name], value), name


def test_recording_leaves_the_learner_as_it_was(make: Make, images) -> None:  # type: ignore[no-untyped-def]
    """A run that is resumed records again, in the middle; an unbroken one did so at its start."""
    unbroken, whole = make(), TrainState()
    run(unbroken, Captured(unbroken, stand_in), images, whole)
    first, train_state = make(), TrainState()
    run(first, Captured(first, stand_in), images, train_state, until=24)
    saved = {name: value.contiguous() for name, value in tensors(first).items()}
    second = make()
    load_networks(second.networks, saved)
    load_optimisers(second.optimisers, saved)
    run(second, Captured(second, stand_in), images, train_state)
    assert train_state.rows == whole.rows
    for name, value in tensors(unbroken).items():
        assert torch.equal(tensors(second)[name], value), name


def refuse(body: Callable[[], Tensor]) -> Graph:
    body()
    raise RuntimeError("operation not permitted when stream is capturing\nmore of it")


def test_a_step_that_cannot_be_recorded_is_an_error(make: Make, images) -> None:  # type: ignore[no-untyped-def]
    learner = make()
    with pytest.raises(CaptureError, match=r"^operation not permitted when stream is capturing$"):
        run(learner, Captured(learner, refuse), images, TrainState())


def test_where_it_may_fall_back_it_runs_all_the_same_and_says_why(make: Make, images) -> None:  # type: ignore[no-untyped-def]
    eager, falling, clocks, causes = make(), make(), (TrainState(), TrainState()), list[str]()
    run(eager, Eager(eager), images, clocks[0])
    run(falling, Captured(falling, refuse, causes.append), images, clocks[1])
    assert clocks[0].rows == clocks[1].rows
    assert set(causes) == {"operation not permitted when stream is capturing"}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_capture_refuses_turns_a_test_red(fault: str, mode: Mode, gan_settings, images) -> None:  # type: ignore[no-untyped-def]
    learner = Faulty(gan_settings(), 28, 1, replace(mode, captured=True))
    learner.fault = FAULTS[fault]
    with pytest.raises(CaptureError, match="not permitted"):
        run(learner, Captured(learner, stand_in), images, TrainState())


def test_images_on_another_device_are_refused(mode: Mode, gan_settings, images) -> None:  # type: ignore[no-untyped-def]
    learner = GanLearner(gan_settings(), 28, 1, mode)
    elsewhere = OnDevice(images, Sampler(len(images), 0), torch.device("meta"))
    with pytest.raises(ValueError, match=r"the feed gives images on meta; this training runs on cpu"):
        next(fit(learner, Eager(learner), elsewhere, images, TrainState()))


def test_buffers_lie_where_the_step_runs(mode: Mode, gan_settings, images) -> None:  # type: ignore[no-untyped-def]
    there = replace(mode, captured=True, device=torch.device("meta"))
    learner = GanLearner(gan_settings(), 28, 1, mode)
    learner.mode, learner.sample_noise = there, lambda n_images, count: {"noise": torch.zeros(count, 8)}  # type: ignore[method-assign]
    step = Captured(learner, lambda body: lambda: torch.zeros(4))
    step(torch.zeros(8, 1, 28, 28, dtype=torch.uint8), torch.zeros(8, dtype=torch.int64), 0, 1.0)
    held = [step._raw, step._labels, *step._random.values(), *step._rates.values()]
    assert {one.device.type for one in held} == {"meta"}


def weights() -> tuple[Tensor, Callable[[], dict[str, Tensor]]]:
    weight = torch.zeros(2)
    return weight, lambda: {"weight": weight}


def test_graphs_share_a_pool_and_leave_other_threads_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, (weight, state) = Cuda(monkeypatch), weights()
    record = CudaGraphs()
    for _ in range(2):
        captured(lambda: weight.add_(1), state, record)
    assert [options["pool"] for options in cuda.captures] == [None, (0, 0)]
    assert {options["capture_error_mode"] for options in cuda.captures} == {"thread_local"}
    assert weight.tolist() == [0, 0]


def test_a_broken_capture_names_its_first_cause_and_leaves_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, (weight, state) = Cuda(monkeypatch), weights()
    with pytest.raises(CaptureError, match=r"not permitted .*: _local_scalar_dense reads a number"):
        captured(lambda: weight.add_(weight.sum().item()), state, CudaGraphs())
    assert cuda.streams == ["default"]


def test_a_capture_that_ends_in_an_error_leaves_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, (weight, state) = Cuda(monkeypatch, fault=True), weights()
    with pytest.raises(CaptureError, match="the capture was invalidated"):
        captured(lambda: weight.add_(1), state, CudaGraphs())
    assert cuda.streams == ["default"]


def test_warm_up_is_silent_about_optimisers_that_run_outside_of_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    Cuda(monkeypatch)
    weight, state = weights()

    def body() -> Tensor:
        warnings.warn("This instance was constructed with capturable=True or some of all the ...", stacklevel=1)
        return weight.add_(1)

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        record = CudaGraphs()
        captured(body, state, record)
    assert len(heard) == 1  # in the capture itself, where torch does not warn


class Operations(TorchDispatchMode):
    """Keeps the operations that run within it, each with its first tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, Tensor]] = []

    def __torch_dispatch__(self, operator: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        if given and isinstance(given[0], Tensor):
            self.seen.append((operator._schema.name, given[0]))
        return operator(*given, **(named or {}))


def operations(learner: Learner, images) -> list[tuple[str, Tensor]]:  # type: ignore[no-untyped-def]
    """Those of one step."""
    raw, labels = MemoryMapped(images, Sampler(len(images), 0)).fetch(0, learner.settings.batch)
    with Operations() as mode:
        Eager(learner)(raw, labels, 0, 1.0)
    return mode.seen


def test_weights_are_cast_once_for_both_passes_of_the_discriminator(mode: Mode, gan_settings, images) -> None:  # type: ignore[no-untyped-def]
    learner = GanLearner(gan_settings(), 28, 1, replace(mode, autocast=torch.bfloat16))
    seen = operations(learner, images)
    for name, weight in learner.discriminator.named_parameters():
        if weight.ndim > 1:
            casts = sum(one is weight for operator, one in seen if operator == "aten::_to_copy")
            assert casts == 2, name  # for the discriminator's update and for the generator's


def test_the_spectral_norm_is_found_once_for_both_passes(mode: Mode, gan_settings, images) -> None:  # type: ignore[no-untyped-def]
    learner = GanLearner(gan_settings(discriminator_norm="spectral", loss="hinge"), 28, 1, mode)
    products = sum(operator == "aten::mv" for operator, _ in operations(learner, images))
    layers, updates = 4, 2
    assert products == 3 * layers * updates  # two of the power iteration, one of the norm


def test_the_spectral_norm_is_found_in_float32(mode: Mode, gan_settings) -> None:  # type: ignore[no-untyped-def]
    """A CPU leaves products with vectors alone, so that what runs there is asked whether autocast is on."""
    asked: list[bool] = []

    class Probe(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            asked.append(torch.is_autocast_enabled("cpu"))
            return weight

    layer = GanLearner(gan_settings(discriminator_norm="spectral"), 28, 1, mode).discriminator.last
    norm = layer.parametrizations.weight[0]
    assert isinstance(norm, Float32)
    norm.inner = Probe()
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.weight.dtype == torch.float32
    assert asked == [False]


def test_no_batches_are_counted(make: Make, images) -> None:  # type: ignore[no-untyped-def]
    seen = operations(make(), images)
    assert not [one for operator, one in seen if operator == "aten::add_" and one.dtype == torch.int64]


def test_the_mode_decides(mode: Mode, gan_settings) -> None:  # type: ignore[no-untyped-def]
    for asked, kind in ((False, Eager), (True, Captured)):
        learner = GanLearner(gan_settings(), 28, 1, replace(mode, captured=asked))
        assert isinstance(make_step(learner), kind)


@pytest.mark.gpu
@pytest.mark.parametrize("micro_batch", [0, 3])
def test_on_a_gpu_graphs_equal_eager_steps_and_repeat(gan_settings, images, micro_batch: int) -> None:  # type: ignore[no-untyped-def]
    mode = choose_mode("cuda", deterministic=True)
    runs = []
    for kind in (Captured, Captured, Eager):
        learner, train_state = GanLearner(gan_settings(micro_batch=micro_batch), 28, 1, mode), TrainState()
        run(learner, kind(learner), images, train_state)
        runs.append((train_state.rows, tensors(learner)))
    assert runs[0][0] == runs[1][0] == runs[2][0]
    assert all(torch.equal(runs[0][1][name], other[name]) for _, other in runs[1:] for name in other)


@pytest.mark.gpu
def test_on_a_gpu_a_batch_in_parts_takes_less_memory(gan_settings) -> None:  # type: ignore[no-untyped-def]
    mode, peaks = replace(choose_mode("cuda"), captured=False), []
    torch.backends.cudnn.benchmark = False  # whose trials take memory of their own
    for micro_batch in (0, 64):
        learner = GanLearner(gan_settings(batch=1024, channels=64, micro_batch=micro_batch), 64, 1, mode)
        torch.cuda.reset_peak_memory_stats()
        Eager(learner)(torch.zeros(1024, 1, 64, 64, dtype=torch.uint8, device="cuda"), None, 0, 1.0)
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < peaks[0] / 2
