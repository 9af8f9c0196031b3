"""Captured steps equal eager ones; without a GPU, `stand_in` replaces the recorder of CUDA graphs."""

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
from models.networks.norms import Float32Parametrization
from models.training.device import Mode, choose_mode
from models.training.engine import TrainState, fit
from models.training.learner import Batch, Learner, Losses, Schedule
from models.training.loaders import Loader, MemoryMapped, OnDevice
from models.training.random import Sampler
from models.training.state import load_networks, load_optimisers, network_tensors, optimiser_tensors
from models.training.steps import Captured, CaptureError, CudaGraphs, Eager, Graph, Step, capture, make_step
from tests.models.training.capturing import Cuda, stand_in

Make = Callable[[], Learner]
FAULTS: dict[str, Callable[[Losses], Losses]] = {
    "a CPU scalar": lambda losses: losses | {"loss_g": losses["loss_g"] * torch.tensor(0.5)},
    "a CPU tensor": lambda losses: losses | {"loss_g": losses["loss_g"] + torch.zeros(())},
    "a synchronisation": lambda losses: losses | {"loss_g": losses["loss_g"] * losses["loss_g"].item()},
    "a shape that depends on values": lambda losses: losses | {"loss_d": losses["loss_d"].view(1).nonzero().sum()},
}


class Faulty(GanLearner):
    """A GAN's learner whose step does what a capture does not permit."""

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
    graphs = replace(mode, captured=True)
    penalised = {"loss": "relativistic", "discriminator_norm": "none", "r1": 1.0, "penalty_every": 2}
    makers = {
        "gan": lambda: GanLearner(gan_settings(), 28, 1, graphs),
        "gan-conditional": lambda: GanLearner(gan_settings(), 28, 1, graphs, classes=4),
        "gan-augmented": lambda: GanLearner(gan_settings(flip="on"), 28, 1, graphs, augmented=True),
        "gan-augmented-penalised": lambda: GanLearner(gan_settings(**penalised), 28, 1, graphs, augmented=True),
        "gan-nearest": lambda: GanLearner(gan_settings(loss="hinge", upsample="nearest"), 28, 1, graphs),
        "gan-spectral": lambda: GanLearner(gan_settings(discriminator_norm="spectral", r1=1.0), 28, 1, graphs),
        "gan-penalised": lambda: GanLearner(gan_settings(**penalised), 28, 1, graphs),
        "gan-in-parts": lambda: GanLearner(gan_settings(micro_batch=3), 28, 1, graphs),
        "vae": lambda: VaeLearner(vae_settings(), 28, 1, graphs),
        "vae-textbook": lambda: VaeLearner(vae_settings(reconstruction="summed_mse", flip="on"), 28, 1, graphs),
        "classifier": lambda: ClassifierLearner(classifier_settings(), "classifier", 1, 4, graphs),
        "selfsupervised": lambda: ClassifierLearner(classifier_settings(), "selfsupervised", 1, 0, graphs),
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
    eager, captured, states = make(), make(), (TrainState(), TrainState())
    run(eager, Eager(eager), images, states[0])
    run(captured, Captured(captured, stand_in), images, states[1])
    assert states[0].rows == states[1].rows
    for name, value in tensors(eager).items():
        assert torch.equal(tensors(captured)[name], value), name


def test_a_capture_does_not_change_the_learner(make: Make, images) -> None:  # type: ignore[no-untyped-def]
    """A resumed run captures in the middle, an uninterrupted one at its start."""
    uninterrupted, expected = make(), TrainState()
    run(uninterrupted, Captured(uninterrupted, stand_in), images, expected)
    first, train_state = make(), TrainState()
    run(first, Captured(first, stand_in), images, train_state, until=24)
    saved = {name: value.contiguous() for name, value in tensors(first).items()}
    second = make()
    load_networks(second.networks, saved)
    load_optimisers(second.optimisers, saved)
    run(second, Captured(second, stand_in), images, train_state)
    assert train_state.rows == expected.rows
    for name, value in tensors(uninterrupted).items():
        assert torch.equal(tensors(second)[name], value), name


def refuse(body: Callable[[], Tensor]) -> Graph:
    body()
    raise RuntimeError("operation not permitted when stream is capturing\nsecond line")


def test_a_step_that_cannot_be_captured_is_an_error(make: Make, images) -> None:  # type: ignore[no-untyped-def]
    learner = make()
    with pytest.raises(CaptureError, match=r"^operation not permitted when stream is capturing$"):
        run(learner, Captured(learner, refuse), images, TrainState())


def test_a_fallback_runs_eagerly_and_gives_the_cause(make: Make, images) -> None:  # type: ignore[no-untyped-def]
    eager, falling_back, states, causes = make(), make(), (TrainState(), TrainState()), list[str]()
    run(eager, Eager(eager), images, states[0])
    run(falling_back, Captured(falling_back, refuse, causes.append), images, states[1])
    assert states[0].rows == states[1].rows
    assert set(causes) == {"operation not permitted when stream is capturing"}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_stand_in_detects_what_a_capture_refuses(fault: str, mode: Mode, gan_settings, images) -> None:  # type: ignore[no-untyped-def]
    learner = Faulty(gan_settings(), 28, 1, replace(mode, captured=True))
    learner.fault = FAULTS[fault]
    with pytest.raises(CaptureError, match="not permitted"):
        run(learner, Captured(learner, stand_in), images, TrainState())


def test_images_on_another_device_are_refused(mode: Mode, gan_settings, images) -> None:  # type: ignore[no-untyped-def]
    learner = GanLearner(gan_settings(), 28, 1, mode)
    elsewhere = OnDevice(images, Sampler(len(images), 0), torch.device("meta"))
    with pytest.raises(ValueError, match=r"the loader returns images on meta, but the learner is on cpu"):
        next(fit(learner, Eager(learner), elsewhere, images, TrainState()))


def test_static_buffers_are_on_the_device(mode: Mode, gan_settings, images) -> None:  # type: ignore[no-untyped-def]
    meta = replace(mode, captured=True, device=torch.device("meta"))
    learner = GanLearner(gan_settings(), 28, 1, mode)
    learner.mode, learner.sample_noise = meta, lambda n_images, count: {"noise": torch.zeros(count, 8)}  # type: ignore[method-assign]
    step = Captured(learner, lambda body: lambda: torch.zeros(4))
    step(torch.zeros(8, 1, 28, 28, dtype=torch.uint8), torch.zeros(8, dtype=torch.int64), 0, 1.0)
    buffers = [*step._inputs.values(), *step._rates.values()]
    assert {one.device.type for one in buffers} == {"meta"}


def weights() -> tuple[Tensor, Callable[[], dict[str, Tensor]]]:
    weight = torch.zeros(2)
    return weight, lambda: {"weight": weight}


def test_graphs_share_a_pool_and_do_not_restrict_other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, (weight, state) = Cuda(monkeypatch), weights()
    recorder = CudaGraphs()
    for _ in range(2):
        capture(lambda: weight.add_(1), state, recorder)
    assert [options["pool"] for options in cuda.captures] == [None, (0, 0)]
    assert {options["capture_error_mode"] for options in cuda.captures} == {"thread_local"}
    assert weight.tolist() == [0, 0]


def test_a_failed_capture_names_its_first_cause_and_restores_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, (weight, state) = Cuda(monkeypatch), weights()
    with pytest.raises(CaptureError, match=r"not permitted .*: _local_scalar_dense reads a value"):
        capture(lambda: weight.add_(weight.sum().item()), state, CudaGraphs())
    assert cuda.streams == ["default"]


def test_a_capture_whose_end_fails_restores_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, (weight, state) = Cuda(monkeypatch, fault=True), weights()
    with pytest.raises(CaptureError, match="the capture was invalidated"):
        capture(lambda: weight.add_(1), state, CudaGraphs())
    assert cuda.streams == ["default"]


def test_warm_up_is_silent_about_optimisers_that_run_outside_of_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    Cuda(monkeypatch)
    weight, state = weights()

    def body() -> Tensor:
        warnings.warn("This instance was constructed with capturable=True or some of all the ...", stacklevel=1)
        return weight.add_(1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        capture(body, state, CudaGraphs())
    assert len(caught) == 1  # in the capture itself, where torch does not warn


class Operations(TorchDispatchMode):
    """Records the operations that run in this context, each with its first tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Tensor]] = []

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if args and isinstance(args[0], Tensor):
            self.calls.append((operator._schema.name, args[0]))
        return operator(*args, **(kwargs or {}))


def operations(learner: Learner, images) -> list[tuple[str, Tensor]]:  # type: ignore[no-untyped-def]
    """Returns the operations of one step."""
    raw, labels = MemoryMapped(images, Sampler(len(images), 0)).fetch(0, learner.settings.batch)
    with Operations() as mode:
        Eager(learner)(raw, labels, 0, 1.0)
    return mode.calls


def test_weights_are_cast_once_for_both_passes_of_the_discriminator(mode: Mode, gan_settings, images) -> None:  # type: ignore[no-untyped-def]
    learner = GanLearner(gan_settings(), 28, 1, replace(mode, autocast=torch.bfloat16))
    calls = operations(learner, images)
    for name, weight in learner.discriminator.named_parameters():
        if weight.ndim > 1:
            casts = sum(one is weight for operator, one in calls if operator == "aten::_to_copy")
            assert casts == 2, name  # for the discriminator's update and for the generator's


def test_the_spectral_norm_is_computed_once_for_both_passes(mode: Mode, gan_settings, images) -> None:  # type: ignore[no-untyped-def]
    learner = GanLearner(gan_settings(discriminator_norm="spectral", loss="hinge"), 28, 1, mode)
    products = sum(operator == "aten::mv" for operator, _ in operations(learner, images))
    layers, updates = 4, 2
    assert products == 3 * layers * updates  # two of the power iteration, one of the norm


def test_the_spectral_norm_is_computed_in_float32(mode: Mode, gan_settings) -> None:  # type: ignore[no-untyped-def]
    """On a CPU autocast does not affect matrix-vector products, so a probe checks whether autocast is on."""
    autocast: list[bool] = []

    class Probe(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            autocast.append(torch.is_autocast_enabled("cpu"))
            return weight

    layer = GanLearner(gan_settings(discriminator_norm="spectral"), 28, 1, mode).discriminator.last
    norm = layer.parametrizations.weight[0]
    assert isinstance(norm, Float32Parametrization)
    norm.inner = Probe()
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.weight.dtype == torch.float32
    assert autocast == [False]


def test_no_batches_are_counted(make: Make, images) -> None:  # type: ignore[no-untyped-def]
    calls = operations(make(), images)
    assert not [one for operator, one in calls if operator == "aten::add_" and one.dtype == torch.int64]


def test_the_mode_decides_whether_steps_are_captured(mode: Mode, gan_settings) -> None:  # type: ignore[no-untyped-def]
    for is_captured, kind in ((False, Eager), (True, Captured)):
        learner = GanLearner(gan_settings(), 28, 1, replace(mode, captured=is_captured))
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
def test_on_a_gpu_micro_batches_need_less_memory(gan_settings) -> None:  # type: ignore[no-untyped-def]
    mode, peaks = replace(choose_mode("cuda"), captured=False), []
    torch.backends.cudnn.benchmark = False  # its trials need memory too
    for micro_batch in (0, 64):
        learner = GanLearner(gan_settings(batch=1024, channels=64, micro_batch=micro_batch), 64, 1, mode)
        torch.cuda.reset_peak_memory_stats()
        Eager(learner)(torch.zeros(1024, 1, 64, 64, dtype=torch.uint8, device="cuda"), None, 0, 1.0)
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < peaks[0] / 2
