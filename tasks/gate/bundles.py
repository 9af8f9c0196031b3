"""A bundle on the bench: its own check, and what its file draws as the judge sees it."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.errors import UserError
from tasks.evaluate.drawing import Drawing, look
from tasks.files import read_json, sha256_file
from tasks.judge import Judge
from tasks.metrics.memorisation import Memorisation
from tasks.metrics.neighbours import Membership, membership
from tasks.onnx_session import session
from tasks.params import Params
from tasks.scores import RealFeatures, memorised, neighbours, rounded, score


@dataclass(frozen=True)
class Judged:
    """What a bundle's generator was found to do. Image i comes from noise i, in every bundle."""

    folder: Path
    model: str
    sha256: str
    features: np.ndarray
    figures: dict[str, float]
    membership: Membership
    near: Memorisation

    def record(self) -> dict[str, object]:
        """For the decision."""
        return {
            "bundle": self.folder.as_posix(),
            "model": self.model,
            "sha256": self.sha256,
            "figures": self.figures,
            "memorises": self.near.flagged,
        }


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


def read_contract(folder: Path) -> Contract:
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


def faults(folder: Path) -> list[str]:
    """What the bundle's own verify.py complains of: hashes, contract, golden images."""
    if not (folder / "verify.py").is_file():
        return ["verify.py is missing, so nothing vouches for the files"]
    check = subprocess.run([sys.executable, "verify.py"], cwd=folder, capture_output=True, text=True, check=False)
    lines = (check.stdout + check.stderr).splitlines()
    found = [line.removeprefix("FAIL").strip() for line in lines if line.startswith("FAIL")]
    return found if found or not check.returncode else [f"verify.py fails: {lines[-1] if lines else 'without a word'}"]


def judged(folder: Path, judge: Judge, real: RealFeatures, params: Params) -> Judged:
    """Draws `evaluate.n_images` images from a bundle's generator and scores them; raises UserError if it cannot.

    Where the generator is told labels, they come at the shares of the test images.
    """
    contract, settings = read_contract(folder), params.evaluate
    if contract.told and real.test_labels is None:
        raise UserError(f"{folder} wants labels and the real images have none; judge it with the data it was made of")
    counts = [] if real.test_labels is None else np.bincount(real.test_labels, minlength=len(contract.labels)).tolist()
    file = folder / f"{contract.model}.onnx"
    drawing = Drawing(session(file, params.threads), settings, counts)
    features = look(judge, drawing, settings.n_images, f"judging {folder}")
    near, count = memorised(features, real), min(len(features), len(real.test))
    figures = score(features, real, settings) | rounded({"memorised": near.share})
    members = membership(features[:count], real.test[:count], neighbours(count, settings))
    return Judged(folder, contract.model, sha256_file(file), features, figures, members, near)


def _size(shape: list[Any]) -> str:
    return " x ".join(str(side) for side in shape[1:])


def _listed(labels: list[str]) -> str:
    return ", ".join(labels) if labels else "none"
