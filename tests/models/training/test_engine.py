"""Every learner in the engine: rows, stopping, schedules, and an interrupted run that resumes exactly."""

from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from models.learners.classifier import ClassifierLearner
from models.learners.gan import GanLearner
from models.learners.vae import VaeLearner
from models.settings import GanSettings, OptimiserSettings, StopSettings
from models.training.device import Mode
from models.training.ema import ExponentialMovingAverage
from models.training.engine import DivergedError, TrainState, crossed, fit, stop_reason
from models.training.learner import Learner
from models.training.loaders import MemoryMapped
from models.training.optimisers import learning_rate, linear_warmup, make_optimiser
from models.training.random import Sampler
from models.training.state import load_networks, load_optimisers, network_tensors, optimiser_tensors
from models.training.steps import Eager

Make = Callable[[], Learner]


@pytest.fixture(
    params=[
        "gan",
        "gan-conditional",
        "gan-augmented",
        "vae-flipped",
        "gan-penalised",
        "gan-spectral",
        "vae",
        "vae-residual",
        "vae-textbook",
        "classifier",
        "selfsupervised",
    ]
)
def make(request, mode: Mode, gan_settings, vae_settings, classifier_settings) -> Make:  # type: ignore[no-untyped-def]
    penalised = {"loss": "relativistic", "discriminator_norm": "none", "r1": 1.0, "r2": 1.0, "penalty_every": 2}
    makers = {
        "gan": lambda: GanLearner(gan_settings(), 28, 1, mode),
        "gan-conditional": lambda: GanLearner(gan_settings(), 28, 1, mode, classes=4),
        "gan-augmented": lambda: GanLearner(gan_settings(flip="on"), 28, 1, mode, augmented=True),
        "gan-penalised": lambda: GanLearner(gan_settings(**penalised), 28, 1, mode),
        "gan-spectral": lambda: GanLearner(gan_settings(loss="hinge", discriminator_norm="spectral"), 28, 1, mode),
        "vae-flipped": lambda: VaeLearner(vae_settings(flip="on"), 28, 1, mode),
        "vae": lambda: VaeLearner(vae_settings(), 28, 1, mode),
        "vae-residual": lambda: VaeLearner(vae_settings(network="residual", reconstruction="bernoulli"), 28, 1, mode),
        "vae-textbook": lambda: VaeLearner(vae_settings(reconstruction="summed_mse", prior="standard"), 28, 1, mode),
        "classifier": lambda: ClassifierLearner(classifier_settings(), "classifier", 1, 4, mode),
        "selfsupervised": lambda: ClassifierLearner(classifier_settings(), "selfsupervised", 1, 0, mode),
    }
    return makers[request.param]  # type: ignore[no-any-return]


def run(learner: Learner, images, train_state: TrainState, until: int = 10**9) -> TrainState:  # type: ignore[no-untyped-def]
    loader = MemoryMapped(images, Sampler(len(images), learner.settings.seed))
    for _ in fit(learner, Eager(learner), loader, images, train_state):
        if train_state.n_images >= until:
            break
    return train_state


def tensors(learner: Learner) -> dict[str, torch.Tensor]:
    found = network_tensors(learner.networks) | optimiser_tensors(learner.optimisers)
    return {name: value.clone() for name, value in found.items()}


def test_rows_and_end(make: Make, images) -> None:  # type: ignore[no-untyped-def]
    train_state = run(make(), images, TrainState())
    assert [row["n_images"] for row in train_state.rows] == [16, 32, 48, 64]
    assert [row["probe"] is not None for row in train_state.rows] == [False, True, False, True]


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(make: Make, images) -> None:  # type: ignore[no-untyped-def]
    uninterrupted, expected = make(), TrainState()
    run(uninterrupted, images, expected)
    first, train_state = make(), TrainState()
    run(first, images, train_state, until=24)  # inside a row, inside an epoch
    saved = {name: value.contiguous() for name, value in tensors(first).items()}  # as loaded from a file
    second = make()
    load_networks(second.networks, saved)
    load_optimisers(second.optimisers, saved)
    run(second, images, train_state)
    assert train_state.rows == expected.rows
    for name, value in tensors(uninterrupted).items():
        assert torch.equal(tensors(second)[name], value), name


def test_another_seed_is_another_run(mode: Mode, gan_settings, images) -> None:  # type: ignore[no-untyped-def]
    rows = [run(GanLearner(gan_settings(seed=seed), 28, 1, mode), images, TrainState()).rows for seed in (0, 1)]
    assert rows[0] != rows[1]


def test_the_vae_learns(mode: Mode, vae_settings, images) -> None:  # type: ignore[no-untyped-def]
    learner = VaeLearner(vae_settings(n_images=1600), 28, 1, mode)
    train_state = run(learner, images, TrainState())
    assert train_state.probes[-1] < train_state.probes[0] - 100


def test_the_classifier_learns(mode: Mode, classifier_settings, images) -> None:  # type: ignore[no-untyped-def]
    learner = ClassifierLearner(classifier_settings(n_images=1600), "classifier", 1, 4, mode)
    run(learner, images, TrainState())
    assert learner.accuracy(images) > 0.9


def test_the_gans_probe_falls(mode: Mode, gan_settings, images) -> None:  # type: ignore[no-untyped-def]
    train_state = run(GanLearner(gan_settings(n_images=3200), 28, 1, mode), images, TrainState())
    assert min(train_state.probes) < train_state.probes[0] * 0.7


def test_a_classifier_needs_labels(mode: Mode, classifier_settings) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="no labels"):
        ClassifierLearner(classifier_settings(), "classifier", 1, 0, mode)


def test_a_plateau_stops_the_run() -> None:
    stop = StopSettings(n_images=1000, patience=2, max_seconds=0)

    def train_state(*probes: float) -> TrainState:
        return TrainState(100, [{"n_images": 1, "probe": probe} for probe in probes])

    assert stop_reason(stop, train_state(3, 2, 1)) is None
    assert stop_reason(stop, train_state(3, 1, 2, 1)) == "plateau"
    assert stop_reason(stop, train_state(3, 1, 2, 0.5)) is None
    assert stop_reason(stop, TrainState(1000)) == "n_images"


def test_a_loss_that_is_not_finite_is_reported_with_its_name_and_image(mode: Mode, gan_settings) -> None:  # type: ignore[no-untyped-def]
    learner, train_state = GanLearner(gan_settings(), 28, 1, mode), TrainState()
    for loss_g in (1.0, float("nan"), 2.0):
        train_state.add_losses(torch.tensor([0.0, 1.0, -1.0, loss_g]), 8)
    with pytest.raises(DivergedError, match=r"^loss_g became NaN or infinite by image 16$"):
        train_state.close_row(learner, None)
    assert train_state.rows == []


def test_a_diagnostic_that_is_not_finite_ends_the_training(mode: Mode, gan_settings) -> None:  # type: ignore[no-untyped-def]
    train_state = TrainState()
    train_state.add_losses(torch.zeros(4), 8)
    with pytest.raises(DivergedError, match="probe became NaN or infinite"):
        train_state.close_row(GanLearner(gan_settings(), 28, 1, mode), {"probe": float("nan"), "diversity": 1.0})


def test_rows_are_means_of_the_losses_since_the_last(mode: Mode, vae_settings) -> None:  # type: ignore[no-untyped-def]
    learner, train_state = VaeLearner(vae_settings(), 28, 1, mode), TrainState()
    for losses in ([1.0, 2.0], [3.0, 6.0]):
        train_state.add_losses(torch.tensor(losses), 8)
    train_state.close_row(learner, None)
    assert train_state.rows == [{"n_images": 16, "reconstruction": 2.0, "kl": 4.0, "probe": None, "active_units": None}]
    assert train_state.window == []


def test_each_rollback_halves_the_rates(mode: Mode, gan_settings) -> None:  # type: ignore[no-untyped-def]
    assert [TrainState(rollback_reasons=["a reason"] * count).lr_scale for count in range(3)] == [1, 0.5, 0.25]
    rates = [GanLearner(gan_settings(), 28, 1, mode).schedule(0, lr_scale).rates for lr_scale in (1.0, 0.5)]
    assert rates[1]["generator_rate"] == pytest.approx(float(rates[0]["generator_rate"]) / 2)
    assert rates[1]["decay"] == rates[0]["decay"]


def test_crossed() -> None:
    assert crossed(90, 100, 100)
    assert crossed(96, 128, 100)
    assert not crossed(100, 132, 100)


def test_schedules() -> None:
    settings = OptimiserSettings(
        name="adam", learning_rate=0.1, beta1=0.5, beta2=0.9, weight_decay=0.0, decay_start=0.5
    )
    rates = [learning_rate(settings, progress) for progress in (0, 0.5, 0.75, 1)]
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.001])
    assert [linear_warmup(progress, 0.2) for progress in (0, 0.1, 0.2, 1)] == pytest.approx([0, 0.5, 1, 1])
    assert linear_warmup(0, 0) == 1


@pytest.mark.parametrize(("name", "beta2"), [("adam", 0.9), ("adamw", 0.9), ("rmsprop", 0.9), ("sgd", 0.0)])
def test_every_optimiser_descends_and_resumes(name: str, beta2: float, mode: Mode) -> None:
    settings = OptimiserSettings(
        name=name,  # type: ignore[arg-type]
        learning_rate=0.05,
        beta1=0.5,
        beta2=beta2,
        weight_decay=0.0,
        decay_start=1.0,
    )

    def steps(weight: nn.Parameter, optimiser: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            optimiser.zero_grad()
            weight.square().sum().backward()
            optimiser.step()

    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimiser = make_optimiser([weight], settings, mode)
    steps(weight, optimiser, 5)
    again = nn.Parameter(weight.detach().clone())
    resumed = make_optimiser([again], settings, mode)
    load_optimisers(
        {"o": resumed}, {name: value.clone() for name, value in optimiser_tensors({"o": optimiser}).items()}
    )
    steps(weight, optimiser, 5)
    steps(again, resumed, 5)
    assert torch.equal(weight, again)
    assert weight.square().sum() < 4


def test_sgd_has_no_second_moment(mode: Mode) -> None:
    settings = OptimiserSettings(name="sgd", learning_rate=0.1, beta1=0.5, beta2=0.9, weight_decay=0.0, decay_start=1.0)
    with pytest.raises(ValueError, match="beta2"):
        make_optimiser([nn.Parameter(torch.zeros(1))], settings, mode)


def test_gradient_penalties_exclude_batch_normalisation(gan_settings: Callable[..., GanSettings]) -> None:
    with pytest.raises(ValidationError, match="discriminator_norm"):
        gan_settings(r1=1.0, discriminator_norm="batch")


def test_ema_includes_buffers_and_halves_in_its_half_life() -> None:
    network = nn.BatchNorm1d(2)
    ema = ExponentialMovingAverage(network, half_life=8)
    network.running_mean.fill_(1.0)  # type: ignore[union-attr]
    ema.update(network, ema.decay(n_images=10**6, batch=8))
    assert ema.network.running_mean.tolist() == pytest.approx([0.5, 0.5])  # type: ignore[union-attr]
    assert not ema.network.training


def test_ema_equals_the_network_at_first_and_without_a_half_life() -> None:
    network = nn.Linear(1, 1)
    for half_life in (0.0, 1e6):
        ema = ExponentialMovingAverage(network, half_life)
        network.weight.data += 1
        ema.update(network, ema.decay(n_images=0, batch=8))
        assert torch.equal(ema.network.weight, network.weight)
