"""Hyperparameters of the learners with their types and limits; `params.yaml` holds the values.

This module does not import torch, because the orchestrator builds its form from these classes.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]
Choice = Literal["auto", "on", "off"]
Switch = Literal["on", "off"]
GanLoss = Literal["minimax", "non_saturating", "hinge", "relativistic"]
Norm = Literal["batch", "spectral", "none"]
Upsampling = Literal["transposed", "nearest"]
Reconstruction = Literal["summed_mse", "bernoulli", "optimal_sigma"]
Blocks = Literal["plain", "residual"]
Prior = Literal["standard", "flow"]
Method = Literal["adam", "adamw", "rmsprop", "sgd"]


class Settings(BaseModel, extra="forbid", frozen=True, strict=True):
    """Base of every section of params.yaml: immutable, without type coercion, and without unknown keys."""


class OptimiserSettings(Settings):
    """An optimiser of `torch.optim` and its learning rate schedule; a value that the optimiser lacks must be 0."""

    name: Method = Field(description="Optimiser of torch.optim.")
    learning_rate: float = Field(gt=0, le=1, description="Learning rate before any decay.")
    beta1: float = Field(ge=0, lt=1, description="Adam: decay of the first moment. RMSprop, SGD: momentum.")
    beta2: float = Field(ge=0, lt=1, description="Adam: decay of the second moment. RMSprop: its alpha. SGD: 0.")
    weight_decay: Weight = Field(description="Weight decay. AdamW: decoupled. Others: L2 penalty in the gradient.")
    decay_start: Fraction = Field(description="Share of the run before linear decay to 1 % begins. 1: no decay.")


class StopSettings(Settings):
    """When a training stops."""

    n_images: Count = Field(description="Training images to process in total.")
    patience: int = Field(ge=0, description="Probes without improvement before stopping. 0: never.")
    max_seconds: int = Field(ge=0, description="Wall-clock limit in seconds; not reproducible. 0: none.")


class LearnerSettings(Settings):
    """Settings that every learner has."""

    in_form: ClassVar[tuple[str, ...]] = ("seed", "stop.n_images", "stop.max_seconds", "batch")  # of Prefect's run form

    seed: int = Field(ge=0, lt=2**31, description="Seed of the weights, the order of the images, and the noise.")
    batch: Count = Field(le=65536, description="Images per step.")
    micro_batch: int = Field(
        ge=0, le=65536, description="Images per forward pass, to save memory; the result stays the same. 0: all."
    )
    stop: StopSettings
    log_every: Count = Field(description="Images between two rows of the training curves.")
    probe_every: Count = Field(description="Images between two evaluations on the validation split.")
    checkpoint_every: Count = Field(description="Images between two checkpoints.")
    rollbacks: int = Field(ge=0, le=20, description="Rollbacks to lower learning rates before a training fails.")


class GanSettings(LearnerSettings):
    """A DCGAN (Radford 2016) and its adversarial training."""

    in_form = (
        *LearnerSettings.in_form,
        "channels",
        "conditional",
        "flip",
        "generator.learning_rate",
        "discriminator.learning_rate",
    )

    noise: Count = Field(le=4096, description="Length of the noise vector.")
    channels: Count = Field(le=1024, description="Channels at half the image size; doubled at each halving.")
    upsample: Upsampling = Field(description="How the generator doubles the resolution.")
    discriminator_norm: Norm = Field(description="Normalisation of the discriminator.")
    loss: GanLoss = Field(description="Adversarial loss.")
    conditional: Choice = Field(
        description="Whether labels condition both networks. auto: where every label has training images."
    )
    augment: Choice = Field(description="DiffAugment before the discriminator. auto: below 20,000 training images.")
    flip: Switch = Field(description="Whether training images are mirrored left to right at random.")
    r1: Weight = Field(description="Weight gamma of the gradient penalty on real images. 0: none.")
    r2: Weight = Field(description="Weight gamma of the gradient penalty on generated images. 0: none.")
    penalty_every: Count = Field(description="Steps between two gradient penalties (lazy regularisation).")
    generator: OptimiserSettings
    discriminator: OptimiserSettings
    ema_half_life: Weight = Field(description="Half-life of the weights' EMA, in images. 0: no averaging.")

    @model_validator(mode="after")
    def _penalties_need_single_images(self) -> Self:
        if (self.r1 or self.r2) and self.discriminator_norm == "batch":
            raise ValueError("r1 and r2 need gradients per image; discriminator_norm must be spectral or none")
        return self


class VaeSettings(LearnerSettings):
    """A variational auto-encoder (Kingma & Welling 2014) and the prior that is fitted to its codes afterwards."""

    in_form = (*LearnerSettings.in_form, "channels", "latent", "conditional", "beta", "optimiser.learning_rate")

    latent: Count = Field(le=4096, description="Length of the latent code.")
    channels: Count = Field(le=1024, description="Channels at the first halved resolution; doubled at each halving.")
    network: Blocks = Field(description="Convolutions only (plain), or with residual blocks.")
    reconstruction: Reconstruction = Field(
        description="Negative log-likelihood, summed over the pixels of an image, mean over the batch."
    )
    conditional: Choice = Field(
        description="Whether labels condition the fitted prior. auto: where labels and a fitted prior exist."
    )
    flip: Switch = Field(description="Whether training images are mirrored left to right at random.")
    beta: Weight = Field(description="Weight of KL(q(z|x) || N(0, I)).")
    kl_warmup: Fraction = Field(description="Share of the run in which beta rises linearly from 0.")
    optimiser: OptimiserSettings
    ema_half_life: Weight = Field(description="Half-life of the weights' EMA, in images. 0: no averaging.")
    prior: Prior = Field(description="Distribution of codes for sampling: N(0, I), or a fitted normalising flow.")
    prior_layers: Count = Field(le=64, description="Coupling layers of the flow.")
    prior_width: Count = Field(le=4096, description="Hidden units of each coupling layer.")
    prior_steps: Count = Field(description="Training steps of the flow, at 1,024 codes each.")

    @model_validator(mode="after")
    def _labels_go_through_the_flow(self) -> Self:
        if self.conditional == "on" and self.prior == "standard":
            raise ValueError("labels condition the fitted prior; conditional: on needs prior: flow")
        return self


class TrainingSections(Settings):
    """The sections of params.yaml that train a model each: a section train_NAME registers the model NAME."""

    train_gan: GanSettings
    train_vae: VaeSettings


class WeightsFile(Settings):
    """A file of pretrained weights and its hash."""

    file: str = Field(description="Path of a .safetensors or .pth file. Empty: none.")
    sha256: str = Field(pattern="^([0-9a-f]{64})?$", description="SHA-256 of that file: 64 hexadecimal digits.")


class ClassifierSettings(LearnerSettings):
    """A classifier that is trained here to extract features for the evaluation."""

    channels: Count = Field(le=512, description="Channels at full resolution; doubled at each halving.")
    features: Count = Field(le=4096, description="Length of the feature vector.")
    shift: Fraction = Field(description="Largest random background brightness in training, as a share of the range.")
    optimiser: OptimiserSettings
