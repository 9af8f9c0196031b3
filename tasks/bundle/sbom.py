"""The software bill of materials: what made a bundle, as requirements.lock has it, in CycloneDX's JSON.

Without the serial number and the time that CycloneDX leaves open, equal locks give equal bytes.
"""

from pathlib import Path

from tasks.common.files import sha256_file, write_json
from tasks.common.lockfile import locked_versions

SBOM = "sbom.cdx.json"


def write_sbom(folder: Path, model: str) -> None:
    """Writes the bill of the model files in `folder`: the model with its hash, and every locked library."""
    file = folder / f"{model}.onnx"
    hashes = [{"alg": "SHA-256", "content": sha256_file(file)}]
    subject = {"type": "machine-learning-model", "bom-ref": file.name, "name": file.name, "hashes": hashes}
    libraries = [(name, version) for name, versions in sorted(locked_versions().items()) for version in versions]
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": subject},
        "components": [_library(name, version) for name, version in libraries],
    }
    write_json(folder / SBOM, bill)


def _library(name: str, version: str) -> dict[str, str]:
    url = f"pkg:pypi/{name.replace('_', '-')}@{version}"
    return {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url}
