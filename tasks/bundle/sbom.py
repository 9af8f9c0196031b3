"""A bundle's software bill of materials: the libraries that requirements.lock pins, in CycloneDX's JSON.

It omits CycloneDX's optional serial number and time, so that equal lock files give equal bytes.
"""

import re
from pathlib import Path

from tasks.common.errors import UserError
from tasks.common.files import sha256_file, write_json

SBOM = "sbom.cdx.json"
LOCK = Path("requirements.lock")
PINNED = re.compile(r"(?m)^([A-Za-z0-9._-]+)==([^\s;\\]+)")


def write_sbom(folder: Path, model: str) -> None:
    """Writes the bill of `folder`/MODEL.onnx into `folder`: the model with its hash, and every pinned library."""
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


def locked_versions(lock: Path = LOCK) -> dict[str, list[str]]:
    """Returns the pinned versions of every package, one or more, since they may depend on the version of Python.

    Raises UserError when there is no lock file.
    """
    if not lock.is_file():
        raise UserError(f"{lock} is missing; `git checkout {lock}` brings it back")
    found: dict[str, list[str]] = {}
    for name, version in PINNED.findall(lock.read_text(encoding="utf-8")):
        found.setdefault(name.lower(), []).append(version)
    return found


def _library(name: str, version: str) -> dict[str, str]:
    url = f"pkg:pypi/{name.replace('_', '-')}@{version}"
    return {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url}
