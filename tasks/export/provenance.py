"""What a contract says of where a model came from: hashes, counts, what trained the weights and what exported them.

Commit, time and machine are no content; they stand in lineage.json, which a release adds.
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
# What has a hand in the numbers and bytes of a file that ships.
LIBRARIES = (
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxscript",
    "pillow",
    "safetensors",
    "scipy",
    "torch",
    "torchvision",
)


class TrainedWith(BaseModel):
    """What shaped the bits of the weights beside the inputs, as their header has it; unknown keys are left out."""

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
    """`about`, a weights file's header, with all that the export adds to it.

    Its hashes are joined by those of the weights and of the export's own code and parameters; beside them stand the
    counts of the images by split and of those left out by reason, and the versions of the libraries that export now:
    those that trained stand in the header, under `trained_with`, which is None in weights of earlier code. Raises
    UserError where the weights were trained on other data than stands there.
    """
    manifest, inputs = read_json(MANIFEST), stage_inputs(stage)
    if about["hashes"]["data"] != sha256_file(MANIFEST):
        raise UserError(
            f"{weights} was trained on other images than {MANIFEST} describes; `dvc repro` brings both together"
        )
    hashes = {
        "weights": sha256_file(weights),
        "export_code": digest(inputs.code),
        "export_params": digest(inputs.params),
    }
    return {
        **about,
        "trained_with": about.get("trained_with"),
        "hashes": about["hashes"] | hashes,
        "images": {split: one["count"] for split, one in manifest["splits"].items()},
        "quarantined": manifest["rejected"],
        "libraries": installed_versions(),
    }


def installed_versions() -> dict[str, str]:
    """The installed version of each library that has a hand in a file that ships."""
    # A stage's outputs may depend on its declared inputs alone. What is installed is none, but requirements.lock is, an
    # input of every stage that quotes this, and the two agree: `make` builds .venv anew where the lock changed, and a
    # run in a worktree with another lock than the installed one is refused (flows/core/worktree.py).
    found: dict[str, str] = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):  # of the two packages of ONNX Runtime, one is installed
            found[name] = version(name)
    return found


def trained_with_text(trained_with: Mapping[str, Any] | None) -> str:
    """What a contract says of the training's libraries, device and mode; raises ValueError where that is damaged."""
    if trained_with is None:
        return "not recorded, since earlier code trained the weights"
    return str(TrainedWith.model_validate(trained_with))
