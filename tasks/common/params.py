"""The typed model of params.yaml: the type, the bounds and the meaning of every key. It does not import torch."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from models.settings import ClassifierSettings, Count, Fraction, Settings, TrainingSections, WeightsFile
from tasks.common.errors import UserError

PARAMS_FILE = Path("params.yaml")
OPSETS = range(18, 24)  # ONNX operator sets that the export can write and the checks can read
Variant = Literal["float16", "uint8", "static"]
RENAMED = {  # keys of earlier versions and their new names
    "constant_for": "decay_start",
    "gate.draws": "bootstrap_samples",
    "evaluate.importance_draws": "iwae_samples",
    "evaluate.importance_images": "iwae_images",
}


class PreprocessSettings(Settings):
    """How image files are checked, converted to squares of one size and colour mode, and split."""

    size: Literal[28, 32, 64, 128, 256] = Field(description="Side of the prepared images in pixels.")
    color: Literal["grey", "rgb"] = Field(description="Colour mode that every image is converted to.")
    min_side: Count = Field(description="Images whose shorter side has fewer pixels are rejected.")
    max_pixels: Count = Field(description="Images with more pixels are rejected as decompression bombs.")
    max_rejected: Fraction = Field(description="Largest share of rejected images; above it the stage fails.")
    min_images: Count = Field(description="Smallest number of usable training images; below it the stage fails.")
    validation: float = Field(gt=0, lt=0.5, description="Share of the images for validation during training.")
    test: float = Field(gt=0, lt=0.5, description="Share of the images for the evaluation of trained models.")
    shard_mib: Count = Field(le=4096, description="Largest size of a shard in MiB.")


class EvaluatorSettings(ClassifierSettings):
    """An evaluator's feature extractor: trained here, randomly initialised, or loaded from published weights."""

    weights: WeightsFile


class ReferenceSettings(EvaluatorSettings):
    """The first evaluator, whose features most metrics and the gate's limits use."""

    network: Literal["auto", "classifier", "selfsupervised", "inception", "dinov2"] = Field(
        description="Feature extractor. auto: classifier if there are labels, else selfsupervised (predicts rotations)."
    )


class SecondReferenceSettings(EvaluatorSettings):
    """The second evaluator, which detects models that score well with the first one only."""

    network: Literal["auto", "selfsupervised", "random", "inception", "dinov2"] = Field(
        description="Feature extractor. auto: selfsupervised, or random weights where the first one is selfsupervised."
    )


class ExportSettings(Settings):
    """How a trained model is exported to ONNX files."""

    opset: int = Field(ge=OPSETS[0], le=OPSETS[-1], description="ONNX operator set.")
    tolerance: float = Field(gt=0, le=1e-4, description="Largest difference of an output from PyTorch in float64.")
    tolerance_tf32: float = Field(gt=0, le=0.01, description="The same tolerance on a GPU that multiplies in TF32.")
    tolerance_float16: float = Field(gt=0, le=0.1, description="The same tolerance for files that compute in float16.")
    variants: list[Variant] = Field(
        description="Files that ship beside the float32 ones. float16: half the size, for GPUs. uint8: pixels as "
        "bytes, channels last. static: a fixed batch size, for CUDA graphs."
    )
    static_batch: Count = Field(le=4096, description="Batch size of the static files.")


class EvaluateSettings(Settings):
    """How the metrics of the exported files are computed."""

    n_images: Count = Field(ge=20, description="Number of generated images.")
    neighbours: Count = Field(description="k of precision, recall, density and coverage.")
    subsets: int = Field(ge=2, description="Number of subsets over which the kernel distance is averaged.")
    subset_size: int = Field(ge=2, description="Images in each of these subsets.")
    iwae_images: int = Field(ge=2, description="Test images for a VAE's importance-weighted bound.")
    iwae_samples: int = Field(ge=1, le=10_000, description="Latent samples per image for that bound.")
    accuracy_epochs: Count = Field(
        le=100, description="Epochs of the classifier that learns from generated images and is tested on real ones."
    )
    grid: Count = Field(le=32, description="Images along each side of the sample grids.")
    seed: int = Field(ge=0, lt=2**31, description="Seed of the noise from which the images are generated.")


class BundleSettings(Settings):
    """The golden vectors of a bundle: noise and the images that the model must give for it."""

    golden: int = Field(ge=1, le=256, description="Number of golden vectors.")
    seed: int = Field(ge=0, lt=2**31, description="Seed of their noise.")


class GateLimits(Settings):
    """Absolute limits that every candidate must keep, whichever model is live."""

    fd_relative: float = Field(gt=0, description="Largest relative Fréchet distance to the test images.")
    precision: Fraction = Field(description="Smallest share of generated images that lie among real ones.")
    coverage: Fraction = Field(description="Smallest share of real images with a generated image nearby.")
    memorised: Fraction = Field(description="Largest share of generated images that nearly copy a training image.")
    label_share: Fraction = Field(
        description="Smallest share of any label among the generated images, as the first evaluator classifies them, "
        "relative to its share of the real images."
    )


class GateMargins(Settings):
    """How much worse than the live model a candidate may be: the difference that another training seed can make."""

    fd_relative: float = Field(ge=0, description="Relative Fréchet distance, as a share of the live model's.")
    fd_relative_second: float = Field(ge=0, description="The same with the second evaluator.")
    precision: float = Field(ge=0, le=1, description="Precision, as an absolute difference.")
    coverage: float = Field(ge=0, le=1, description="Coverage, as an absolute difference.")


class GateSettings(Settings):
    """When a candidate may replace the live model."""

    limits: GateLimits
    margin: GateMargins
    bootstrap_samples: int = Field(ge=100, le=100_000, description="Bootstrap samples per confidence interval.")
    confidence: float = Field(gt=0.5, lt=1, description="Confidence level of the intervals.")


class Params(TrainingSections):
    """All of params.yaml: a section per stage, and what all stages share."""

    threads: Count = Field(le=1024, description="CPU threads of each stage; another number changes a CPU run's bits.")
    device: Literal["auto", "cpu", "cuda"] = Field(description="Device of all networks. auto: a GPU if there is one.")
    deterministic: Literal["off", "on"] = Field(
        description="Whether a GPU gives the same bits in every run, more slowly; a CPU always does."
    )
    device_share: Fraction = Field(
        description="Share of the GPU's memory for the training images; a larger data set is streamed to the GPU."
    )
    preprocess: PreprocessSettings
    reference: ReferenceSettings
    reference_second: SecondReferenceSettings
    export: ExportSettings
    evaluate: EvaluateSettings
    bundle: BundleSettings
    gate: GateSettings

    @model_validator(mode="after")
    def _evaluators_differ(self) -> Self:
        if self.reference.network == self.reference_second.network != "auto":
            raise ValueError("both evaluators use the same network; set reference_second.network to auto")
        return self


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Returns the checked content of params.yaml or a file like it; raises UserError that names every error in it."""
    try:
        values = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run this from the project's folder") from None
    except YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    return check_params(values, str(path))


def check_params(values: object, source: str) -> Params:
    """Validates plain values; raises UserError that names `source`, each wrong key, and what was expected."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{source}: {describe_errors(error)}; correct it there") from None


def describe_errors(error: ValidationError) -> str:
    """Returns one clause per wrong key: its value and what was expected."""
    return "; ".join(_describe(one["loc"], one["msg"], one["input"]) for one in error.errors())


def _describe(location: tuple[int | str, ...], message: str, value: object) -> str:
    key = ".".join(str(part) for part in location)
    if message == "Extra inputs are not permitted":
        new = RENAMED.get(key) or RENAMED.get(key.rpartition(".")[2])
        return f"`{key}` is now called `{new}`" if new else f"unknown parameter `{key}`"
    if message == "Field required":
        return f"parameter `{key}` is missing"
    return f"`{key}` is {value!r}: {message[0].lower()}{message[1:]}"
