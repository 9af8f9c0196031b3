"""The knobs of the learners, typed and bounded; `params.yaml` holds their values, none is hidden here.

Torch is not imported: the orchestrator reads these classes to draw its form.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

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


class Settings(BaseModel):
    """Base of every section: unknown keys are refused, types are not coerced, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class OptimiserSettings(Settings):
    """An optimiser of `torch.optim` and its schedule; keys that a method does not have must be 0."""

    name: Method = Field(description="Method of torch.optim.")
    learning_rate: float = Field(gt=0, le=1, description="Step size before any decay.")
    beta1: float = Field(ge=0, lt=1, description="Adam: decay of the first moment. RMSprop, SGD: momentum.")
    beta2: float = Field(ge=0, lt=1, description="Adam: decay of the second moment. RMSprop: its alpha. SGD: 0.")
    weight_decay: Weight = Field(description="AdamW: decoupled. Others: added to the gradient.")
    decay_start: Fraction = Field(description="Share of the run at full rate; then linear to 1 % of it. 1: no decay.")


class StopSettings(Settings):
    """When a training ends; the clock counts images seen."""

    n_images: Count = Field(description="Images to see in all.")
    patience: int = Field(ge=0, description="Probes without improvement before stopping. 0: never.")
    max_seconds: int = Field(ge=0, description="Wall-clock budget in seconds; not reproducible. 0: none.")


class LearnerSettings(Settings):
    """What every learner needs."""

    seed: int = Field(ge=0, lt=2**31, description="Seed of weights, batches and noise.")
    batch: Count = Field(le=65536, description="Images per step.")
    micro_batch: int = Field(
        ge=0, le=65536, description="Images that a network holds at a time; the result is that of the batch. 0: all."
    )
    stop: StopSettings
    log_every: Count = Field(description="Images between two rows of the curves.")
    probe_every: Count = Field(description="Images between two looks at the validation split.")
    checkpoint_every: Count = Field(description="Images between two checkpoints.")
    rollbacks: int = Field(ge=0, le=20, description="Times a training that goes wrong may go back and slow down.")


class GanSettings(LearnerSettings):
    """A DCGAN (Radford 2016) and the rule by which its two networks play."""

    noise: Count = Field(le=4096, description="Length of the noise vector.")
    channels: Count = Field(le=1024, description="Channels of the widest resolution but one; doubled at each halving.")
    upsample: Upsampling = Field(description="How the generator doubles the side.")
    discriminator_norm: Norm = Field(description="What keeps the discriminator tame.")
    loss: GanLoss = Field(description="The adversarial game.")
    conditional: Choice = Field(
        description="Whether a label picks what is drawn. auto: where every label has training images."
    )
    augment: Choice = Field(description="DiffAugment before the discriminator. auto: below 20,000 training images.")
    flip: Switch = Field(description="Whether half of the images are seen mirrored left and right.")
    r1: Weight = Field(description="Gradient penalty on real images, gamma. 0: none.")
    r2: Weight = Field(description="Gradient penalty on generated images, gamma. 0: none.")
    penalty_every: Count = Field(description="Steps between two penalties (lazy regularisation).")
    generator: OptimiserSettings
    discriminator: OptimiserSettings
    ema_half_life: Weight = Field(description="Images in which the average forgets half. 0: the live weights ship.")

    @model_validator(mode="after")
    def _penalties_need_single_images(self) -> Self:
        if (self.r1 or self.r2) and self.discriminator_norm == "batch":
            raise ValueError("r1 and r2 are slopes at single images; discriminator_norm must be spectral or none")
        return self


class VaeSettings(LearnerSettings):
    """A variational auto-encoder (Kingma 2014) and the prior fitted to its codes afterwards."""

    latent: Count = Field(le=4096, description="Length of the latent code.")
    channels: Count = Field(le=1024, description="Channels at the first halved resolution; doubled at each halving.")
    network: Blocks = Field(description="Plain convolutions, or residual blocks.")
    reconstruction: Reconstruction = Field(
        description="Negative log-likelihood, summed over the pixels of an image, mean over the batch."
    )
    conditional: Choice = Field(
        description="Whether a label picks what the fitted prior samples. auto: where labels and such a prior exist."
    )
    flip: Switch = Field(description="Whether half of the images are seen mirrored left and right.")
    beta: Weight = Field(description="Weight of KL(q(z|x) || N(0, I)).")
    kl_warmup: Fraction = Field(description="Share of the run in which beta rises linearly from 0.")
    optimiser: OptimiserSettings
    ema_half_life: Weight = Field(description="Images in which the average forgets half. 0: the live weights ship.")
    prior: Prior = Field(description="Law of the codes when sampling: N(0, I), or a fitted flow.")
    prior_layers: Count = Field(le=64, description="Coupling layers of the flow.")
    prior_width: Count = Field(le=4096, description="Hidden units of each coupling layer.")
    prior_steps: Count = Field(description="Steps of the flow's fit, at 1,024 codes each.")

    @model_validator(mode="after")
    def _labels_go_through_the_flow(self) -> Self:
        if self.conditional == "on" and self.prior == "standard":
            raise ValueError("a label picks codes by the fitted prior; conditional: on needs prior: flow")
        return self


class WeightsFile(Settings):
    """A file of weights that somebody else trained, and what it must hold."""

    file: str = Field(description="Path of a .safetensors or .pth file; empty: none.")
    sha256: str = Field(pattern="^([0-9a-f]{64})?$", description="SHA-256 of that file, in 64 hexadecimal digits.")


class ClassifierSettings(LearnerSettings):
    """A feature network of our own, whose features judge."""

    channels: Count = Field(le=512, description="Channels at full resolution; doubled at each halving.")
    features: Count = Field(le=4096, description="Length of the feature vector.")
    shift: Fraction = Field(description="Largest lift of the background in training, as a share of the range.")
    optimiser: OptimiserSettings
