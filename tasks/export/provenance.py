"""The origin of a model in its contract: hashes, counts, what trained the weights and what exported them.

Commit, time and machine are not content; they are in lineage.json, which a release adds.
"""

from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.common.errors import UserError
from tasks.common.files import digest, read_json, sha256_file
from tasks.common.inputs import stage_inputs

MANIFEST = Path("data/prepared/manifest.json")
LIBRARIES = (  # they affect the numbers and bytes of a file that ships
    *("numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "onnxscript"),
    *("pillow", "safetensors", "scipy", "torch", "torchvision"),
)


class TrainedWith(BaseModel):
    """What determined the bits of the weights besides the inputs, from their header; unknown keys are ignored."""

    model_config = ConfigDict(frozen=True, strict=True)

    libraries: dict[str, str]
    mode: str
    device: str
    threads: int

    def __str__(self) -> str:
        libraries = ", ".join(f"{name} {version}" for name, version in sorted(self.libraries.items()))
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        return f"{libraries} on {self.device} ({self.mode}, {threads})"


def provenance(stage: str, about: Mapping[str, Any], weights: Path) -> dict[str, Any]:
    """Returns `about`, the header of a weights file, with what the export adds to it.

    That is the hashes of the weights and of the export's code and parameters, the number of images by split and of
    rejected ones by reason, and the installed versions of the libraries. `trained_with`, what trained the weights,
    becomes None where earlier code wrote the header. Raises UserError where the weights were trained on other data.
    """
    manifest, inputs = read_json(MANIFEST), stage_inputs(stage)
    if about["hashes"]["data"] != sha256_file(MANIFEST):
        raise UserError(
            f"{weights} was trained on other images than {MANIFEST} describes; `dvc repro` brings both together"
        )
    hashes = {"export_code": digest(inputs.code), "export_params": digest(inputs.params)}
    return {
        **about,
        "trained_with": about.get("trained_with"),
        "hashes": about["hashes"] | {"weights": sha256_file(weights)} | hashes,
        "images": {split: one["count"] for split, one in manifest["splits"].items()},
        "quarantined": manifest["rejected"],
        "libraries": installed_versions(),
    }


def installed_versions() -> dict[str, str]:
    """Returns the installed version of each library of LIBRARIES."""
    # A stage's outputs may depend only on its declared inputs. Here that is requirements.lock: `make` rebuilds .venv
    # when it changes, and flows/core/worktree.py refuses a run in a worktree with another lock than the installed one.
    found: dict[str, str] = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):  # of the two packages of ONNX Runtime, one is installed
            found[name] = version(name)
    return found


def trained_with_text(trained_with: Mapping[str, Any] | None) -> str:
    """Returns the libraries, device and mode of the training as text; raises ValueError where the record is damaged."""
    if trained_with is None:
        return "not recorded, since earlier code trained the weights"
    return str(TrainedWith.model_validate(trained_with))
