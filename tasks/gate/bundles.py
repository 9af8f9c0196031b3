"""A bundle on the bench: what its contract says, and what its file draws as the judges see it."""

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
from tasks.gate.record import EvaluatedBundle, EvaluatorView
from tasks.metrics.memorisation import Memorisation
from tasks.metrics.neighbours import Membership
from tasks.reference.statistics import ReferenceStatistics


@dataclass(frozen=True)
class View:
    """A generator's images as one judge sees them; image i comes from noise i, whatever the bundle."""

    reference: ReferenceStatistics
    features: np.ndarray
    figures: dict[str, float]
    membership: Membership

    def record(self) -> EvaluatorView:
        """For the gate's record."""
        device = self.reference.evaluator.device.type
        return EvaluatorView(figures=self.figures, protocol=self.reference.protocol, device=device)


@dataclass(frozen=True)
class LoadedBundle:
    """What a bundle's generator was found to do; `second` is None where that judge is not to be trusted."""

    folder: Path
    model: str
    sha256: str
    first: View
    second: View | None
    near: Memorisation
    rarest: str  # the label that is drawn least for its share, if images have labels
    shown: np.ndarray  # uint8 [n, C, H, W], from the same noise whatever the bundle, for people to look at

    def record(self) -> EvaluatedBundle:
        """For the gate's record."""
        first = self.first.record()
        return EvaluatedBundle(
            bundle=self.folder.as_posix(),
            model=self.model,
            sha256=self.sha256,
            figures=first.figures,
            protocol=first.protocol,
            device=first.device,
            second=self.second.record() if self.second else None,
            memorises=self.near.flagged,
        )


@dataclass(frozen=True)
class Contract:
    """What contract.json says of a bundle's generator."""

    model: str
    shape: list[Any]
    labels: list[str]
    told: bool

    def unlike(self, other: "Contract") -> str | None:
        """Why a model cannot be compared with another, or None."""
        if self.shape[1:] != other.shape[1:]:
            return f"its images are {_size(self.shape)}, those of the live model {_size(other.shape)}"
        if self.labels != other.labels:
            return f"its labels are {_listed(self.labels)}, those of the live model {_listed(other.labels)}"
        return None


def generator_contract(folder: Path) -> Contract:
    """Raises UserError when the folder is no bundle."""
    path = folder / "contract.json"
    if not path.is_file():
        raise UserError(f"{folder} is no bundle: it has no contract.json; name a folder like data/bundle/gan")
    contract = read_json(path)
    try:
        model = contract["model"]
        generator = contract["models"][f"{model}.onnx"]
        return Contract(model, generator["outputs"][0]["shape"], generator["labels"], len(generator["inputs"]) > 1)
    except (KeyError, IndexError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error!r}); make the bundle again") from None


def evaluated(folder: Path, references: Sequence[ReferenceStatistics], params: Params) -> LoadedBundle:
    """Draws `evaluate.n_images` images from a bundle's generator and scores them by one or two yardsticks.

    Where the generator is told labels, they come at the shares of the test images. Raises UserError if it cannot draw.
    """
    contract, settings, real = generator_contract(folder), params.evaluate, references[0].real
    if contract.told and real.test_labels is None:
        raise UserError(f"{folder} wants labels and the real images have none; judge it with the data it was made of")
    counts = [] if real.test_labels is None else np.bincount(real.test_labels, minlength=len(contract.labels)).tolist()
    file = folder / f"{contract.model}.onnx"
    evaluators = [reference.evaluator for reference in references]
    drawing = ExportedGenerator(session(file, params.threads, evaluators[0].device), settings, counts)
    seen = extract_features(evaluators, drawing.gather, settings.n_images, f"judging {folder}")
    first, *others = (view(*each, settings) for each in zip(references, seen, strict=True))
    near = real.memorisation_test(first.features)
    first.figures.update(rounded({"memorised": near.share}))
    rarest = rarest_label(references[0].evaluator, first.features, real)
    if rarest:
        first.figures.update(rounded({"label_share": rarest[1]}))
    named = contract.labels[rarest[0]] if rarest else ""
    second = others[0] if others else None
    return LoadedBundle(folder, contract.model, sha256_file(file), first, second, near, named, drawing.grid())


def view(reference: ReferenceStatistics, features: np.ndarray, settings: EvaluateSettings) -> View:
    """Scores images by their features, float [N, F]."""
    members = neighbour_membership(features, reference.real, settings)
    return View(reference, features, score(features, reference.real, settings, members), members)


def _size(shape: list[Any]) -> str:
    return " x ".join(str(side) for side in shape[1:])


def _listed(labels: list[str]) -> str:
    return ", ".join(labels) if labels else "none"
