"""params.yaml as one typed model: every knob, its type, its bounds and what it means. Torch is not imported."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from models.settings import (
    ClassifierSettings,
    Count,
    Fraction,
    GanSettings,
    Settings,
    VaeSettings,
    WeightsFile,
)
from tasks.common.errors import UserError

PARAMS_FILE = Path("params.yaml")
Variant = Literal["float16", "uint8", "static"]
RENAMED = {  # keys of earlier versions, and what they are called now
    "constant_for": "decay_start",
    "gate.draws": "bootstrap_samples",
    "evaluate.importance_draws": "iwae_samples",
    "evaluate.importance_images": "iwae_images",
}
OPSETS = range(18, 24)  # ONNX operator sets that we write and read


class PreprocessSettings(Settings):
    """From any image to a square of one size and mode."""

    size: Literal[28, 32, 64, 128, 256] = Field(description="Side of the images in pixels.")
    color: Literal["grey", "rgb"] = Field(description="What every image is turned into.")
    min_side: Count = Field(description="Images with a shorter side, in pixels, are rejected.")
    max_pixels: Count = Field(description="Images with more pixels are rejected as decompression bombs.")
    max_rejected: Fraction = Field(description="Share of rejected images above which the run stops.")
    min_images: Count = Field(description="Usable training images below which the run stops.")
    validation: float = Field(gt=0, lt=0.5, description="Share of the images held out while training.")
    test: float = Field(gt=0, lt=0.5, description="Share of the images kept for the judge.")
    shard_mib: Count = Field(le=4096, description="Largest size of a shard in MiB.")


class EvaluatorSettings(ClassifierSettings):
    """A feature network that judges: trained here, drawn, or read from a file of somebody else's weights."""

    weights: WeightsFile


class ReferenceSettings(EvaluatorSettings):
    """The network whose figures decide."""

    network: Literal["auto", "classifier", "selfsupervised", "inception", "dinov2"] = Field(
        description="What judges. auto: a classifier where there are labels, else selfsupervised (quarter turns)."
    )


class SecondReferenceSettings(EvaluatorSettings):
    """The network that judges beside it, so that what fools one does not pass unseen."""

    network: Literal["auto", "selfsupervised", "random", "inception", "dinov2"] = Field(
        description="What judges. auto: selfsupervised, or random weights where the first judge is that."
    )


class ExportSettings(Settings):
    """How a model becomes a file."""

    opset: int = Field(ge=OPSETS[0], le=OPSETS[-1], description="ONNX operator set.")
    tolerance: float = Field(gt=0, le=1e-4, description="Largest difference from PyTorch in float64 that may ship.")
    tolerance_tf32: float = Field(gt=0, le=0.01, description="The same on a GPU that multiplies in TF32.")
    tolerance_float16: float = Field(gt=0, le=0.1, description="The same of a file that computes in float16.")
    variants: list[Variant] = Field(
        description="Files that ship beside those of float32: half as large, for GPUs; giving uint8 pixels, rows of "
        "channels last; of a fixed number of images, for CUDA graphs."
    )
    static_batch: Count = Field(le=4096, description="That number of images.")


class EvaluateSettings(Settings):
    """How the exported file is judged."""

    n_images: Count = Field(ge=20, description="Generated images that are scored.")
    neighbours: Count = Field(description="k of precision, recall, density and coverage.")
    subsets: int = Field(ge=2, description="Subsets of the kernel distance.")
    subset_size: int = Field(ge=2, description="Images in each subset.")
    iwae_images: int = Field(ge=2, description="Test images that a VAE's importance-weighted bound is taken of.")
    iwae_samples: int = Field(ge=1, le=10_000, description="Draws of the code for each of them.")
    accuracy_epochs: Count = Field(
        le=100, description="Looks at each image that a labelled generator draws, by a network that learns from them."
    )
    grid: Count = Field(le=32, description="Side of the sample grids, in images.")
    seed: int = Field(ge=0, lt=2**31, description="Seed of the noise.")


class BundleSettings(Settings):
    """What travels beside the model."""

    golden: int = Field(ge=1, le=256, description="Noise vectors that travel with their images.")
    seed: int = Field(ge=0, lt=2**31, description="Seed of that noise.")


class GateLimits(Settings):
    """What a model must reach whatever is live."""

    fd_relative: float = Field(gt=0, description="Largest relative Frechet distance to the test images.")
    precision: Fraction = Field(description="Least share of generated images that lie among real ones.")
    coverage: Fraction = Field(description="Least share of real images with a generated one nearby.")
    memorised: Fraction = Field(description="Largest share of generated images that are nearly training images.")
    label_share: Fraction = Field(
        description="Least share of any label, as the judge reads it off, over its share of the real images."
    )


class GateMargins(Settings):
    """How much worse than the live model may be: what training once more with another seed moves by itself."""

    fd_relative: float = Field(ge=0, description="Of the relative Frechet distance, as a share of the live model's.")
    fd_relative_second: float = Field(ge=0, description="The same, as the second judge sees it.")
    precision: float = Field(ge=0, le=1, description="Of the precision, in absolute terms.")
    coverage: float = Field(ge=0, le=1, description="Of the coverage, in absolute terms.")


class GateSettings(Settings):
    """When a candidate may take the live model's place."""

    limits: GateLimits
    margin: GateMargins
    bootstrap_samples: int = Field(
        ge=100, le=100_000, description="Resamplings of the images that an interval is taken of."
    )
    confidence: float = Field(gt=0.5, lt=1, description="Of the intervals.")


class Params(Settings):
    """The whole of params.yaml: a section per stage, and what all stages share."""

    threads: Count = Field(le=1024, description="CPU threads of a stage; they change the bits of a CPU run.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        description="Where networks train and judge. auto: a GPU where there is one."
    )
    deterministic: Literal["off", "on"] = Field(description="Whether a GPU repeats itself bit for bit; CPUs always do.")
    device_share: Fraction = Field(description="Share of the GPU's memory that images may take; more are streamed.")
    preprocess: PreprocessSettings
    reference: ReferenceSettings
    reference_second: SecondReferenceSettings
    train_gan: GanSettings
    train_vae: VaeSettings
    export: ExportSettings
    evaluate: EvaluateSettings
    bundle: BundleSettings
    gate: GateSettings

    @model_validator(mode="after")
    def _two_of_a_kind_see_alike(self) -> Self:
        if self.reference.network == self.reference_second.network != "auto":
            raise ValueError("the second judge must not be what the first is; set reference_second.network to auto")
        return self


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Reads and checks params.yaml, or a file like it; raises UserError with every fault in it."""
    try:
        values = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run this from the project's folder") from None
    except YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    return check_params(values, str(path))


def check_params(values: object, where: str) -> Params:
    """Validates plain values; raises UserError that names each key at fault, with what was expected."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{where}: {faults_text(error)}; correct it there") from None


def faults_text(error: ValidationError) -> str:
    """Each key at fault, with what was expected."""
    return "; ".join(_sentence(fault["loc"], fault["msg"], fault["input"]) for fault in error.errors())


def _sentence(place: tuple[int | str, ...], message: str, value: object) -> str:
    key = ".".join(str(part) for part in place)
    if message == "Extra inputs are not permitted":
        new = RENAMED.get(key) or RENAMED.get(key.rpartition(".")[2])
        return f"`{key}` is now called `{new}`" if new else f"unknown parameter `{key}`"
    if message == "Field required":
        return f"parameter `{key}` is missing"
    return f"`{key}` is {value!r}: {message[0].lower()}{message[1:]}"
