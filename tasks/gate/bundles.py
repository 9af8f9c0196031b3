"""A bundle that the gate evaluates: its contract, and the features and metrics of its generator's images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.common.errors import UserError
from tasks.common.files import read_json, sha256_file
from tasks.common.params import EvaluateSettings, Params
from tasks.evaluate.sampling import ExportedGenerator, extract_features
from tasks.evaluate.scores import neighbour_membership, rarest_label, rounded, score
from tasks.export.session import session
from tasks.gate.record import EvaluatedBundle, EvaluatorMetrics
from tasks.metrics.memorisation import Memorisation
from tasks.metrics.neighbours import Membership
from tasks.reference.statistics import ReferenceStatistics


@dataclass(frozen=True)
class EvaluatedFeatures:
    """One evaluator's features of a generator's images, float32 [N, F], with their metrics.

    Row i belongs to the image of noise i, for every bundle.
    """

    reference: ReferenceStatistics
    features: np.ndarray
    metrics: dict[str, float]
    membership: Membership

    def record(self) -> EvaluatorMetrics:
        """Returns the part of the gate's record."""
        device = self.reference.evaluator.device.type
        return EvaluatorMetrics(metrics=self.metrics, protocol=self.reference.protocol, device=device)


@dataclass(frozen=True)
class BundleEvaluation:
    """A bundle with the evaluation of its generator; `second` is None where the second evaluator fails its checks."""

    folder: Path
    model: str
    sha256: str
    first: EvaluatedFeatures
    second: EvaluatedFeatures | None
    memorisation: Memorisation
    rarest_label: str  # the label with the fewest images relative to its share, empty without labels
    samples: np.ndarray  # uint8 [n, C, H, W], from the same noise for every bundle, for the picture

    def record(self) -> EvaluatedBundle:
        """Returns the part of the gate's record."""
        return EvaluatedBundle(
            **dict(self.first.record()),
            bundle=self.folder.as_posix(),
            model=self.model,
            sha256=self.sha256,
            second=self.second.record() if self.second else None,
            memorises=self.memorisation.flagged,
        )


@dataclass(frozen=True)
class GeneratorContract:
    """What contract.json states about a bundle's generator: `shape` of the images, with a name for the batch size."""

    model: str
    shape: list[Any]
    labels: list[str]
    conditional: bool

    def differs(self, other: "GeneratorContract") -> str | None:
        """Returns why the model cannot be compared with another, or None."""
        parts = (("images", " x ", self.shape[1:], other.shape[1:]), ("labels", ", ", self.labels, other.labels))
        for name, separator, mine, theirs in parts:
            if mine != theirs:
                texts = [separator.join(map(str, part)) or "none" for part in (mine, theirs)]
                return f"its {name} are {texts[0]}, those of the live model {texts[1]}"
        return None


def generator_contract(folder: Path) -> GeneratorContract:
    """Reads contract.json; raises UserError when the folder is not a bundle."""
    path = folder / "contract.json"
    if not path.is_file():
        raise UserError(f"{folder} is not a bundle: it has no contract.json; name a folder like data/bundle/gan")
    contract = read_json(path)
    try:
        model = contract["model"]
        generator = contract["models"][f"{model}.onnx"]
        shape = generator["outputs"][0]["shape"]
        return GeneratorContract(model, shape, generator["labels"], len(generator["inputs"]) > 1)
    except (KeyError, IndexError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error!r}); make the bundle again") from None


def evaluate_bundle(folder: Path, references: Sequence[ReferenceStatistics], params: Params) -> BundleEvaluation:
    """Generates `evaluate.n_images` images with a bundle's generator and evaluates them with one or two evaluators.

    The labels of a conditional generator have the shares that they have among the test images. Raises UserError where
    the generator cannot make images.
    """
    contract, settings, real = generator_contract(folder), params.evaluate, references[0].real
    if contract.conditional and real.test_labels is None:
        raise UserError(
            f"{folder} is conditional and the test images have no labels; use the data set that it was trained on"
        )
    counts = [] if real.test_labels is None else np.bincount(real.test_labels, minlength=len(contract.labels)).tolist()
    file = folder / f"{contract.model}.onnx"
    evaluators = [reference.evaluator for reference in references]
    sampling = ExportedGenerator(session(file, params.threads, evaluators[0].device), settings, counts)
    features = extract_features(evaluators, sampling.gather, settings.n_images, f"evaluating {folder}")
    first, *others = (evaluate_features(*each, settings) for each in zip(references, features, strict=True))
    near = real.memorisation_test(first.features)
    first.metrics.update(rounded({"memorised": near.share}))
    rarest = rarest_label(references[0].evaluator, first.features, real)
    if rarest:
        first.metrics.update(rounded({"label_share": rarest[1]}))
    label = contract.labels[rarest[0]] if rarest else ""
    second = others[0] if others else None
    return BundleEvaluation(folder, contract.model, sha256_file(file), first, second, near, label, sampling.grid())


def evaluate_features(
    reference: ReferenceStatistics, features: np.ndarray, settings: EvaluateSettings
) -> EvaluatedFeatures:
    """Computes the metrics of images by their features, float32 [N, F]."""
    members = neighbour_membership(features, reference.real, settings)
    return EvaluatedFeatures(reference, features, score(features, reference.real, settings, members), members)
