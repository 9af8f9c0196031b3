"""What a contract says of where a model came from, from content alone: hashes, counts and library versions.

Commit, time and machine are no content; they stand in lineage.json, which a release adds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.errors import UserError
from tasks.files import digest, read_json, sha256_file
from tasks.inputs import stage_inputs
from tasks.locked import locked_versions

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


def provenance(stage: str, about: Mapping[str, Any], weights: Path) -> dict[str, Any]:
    """`about`, a weights file's header, with all that the export adds to it.

    Its hashes are joined by those of the weights and of the export's own code and parameters; beside them stand the
    counts of the images by split and of those left out by reason, and the libraries' versions as the lock has them.
    Raises UserError where the weights were trained on other data than stands there.
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
        "hashes": about["hashes"] | hashes,
        "images": {split: one["count"] for split, one in manifest["splits"].items()},
        "quarantined": manifest["rejected"],
        "libraries": {name: " or ".join(found) for name, found in locked_versions().items() if name in LIBRARIES},
    }
