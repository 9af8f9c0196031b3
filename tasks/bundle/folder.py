"""Writes data/bundle/MODEL from the exported files, their metrics and their pictures."""

import re
import shutil
from pathlib import Path

from tasks.bundle import verify
from tasks.bundle.card import model_card
from tasks.bundle.faults import bundle_faults, write_sums
from tasks.bundle.golden import golden_vectors, variant_vectors, write_vectors
from tasks.common.errors import UserError
from tasks.common.files import read_json, replacing, sha256_file, write_bytes, write_json
from tasks.common.params import BundleSettings
from tasks.export.checks import read_model
from tasks.export.contract import FORMAT, read_contract
from tasks.export.session import session

MANIFEST, LOCK = Path("data/prepared/manifest.json"), Path("requirements.lock")
PINNED = re.compile(r"(?m)^([A-Za-z0-9._-]+)==([^\s;\\]+)")


def write_bundle(model: str, settings: BundleSettings, threads: int) -> dict[str, object]:
    """Writes data/bundle/MODEL, checked by its own verify.py before it replaces the old one.

    Returns the receipt's facts. Raises UserError when an input is missing or the check fails; the old bundle stays.
    """
    with replacing(Path("data/bundle") / model) as folder:
        folder.mkdir()
        contract = _add_models(model, folder, settings, threads)
        pictures = sorted((Path("data/samples") / model).glob("*.png"))
        evaluated = read_json(Path("data/evaluation") / f"{model}.json")
        card = model_card(model, contract, evaluated, read_json(MANIFEST), [path.name for path in pictures])
        write_bytes(folder / "README.md", card.encode())
        for path in (*pictures, Path(verify.__file__)):
            shutil.copyfile(path, folder / path.name)
        write_sbom(folder, model)
        listed = write_sums(folder)
        if faults := bundle_faults(folder):
            raise UserError(f"the new bundle fails its own check, so the old one stays: {'; '.join(faults)}")
        size = sum(path.stat().st_size for path in folder.iterdir())
    return {"files": listed + 1, "bytes": size}


def _add_models(model: str, folder: Path, settings: BundleSettings, threads: int) -> dict[str, object]:
    """Copies the .onnx files, writes contract.json and the golden vectors, and returns the contract."""
    exported = Path("data/onnx") / model
    paths = {path.name: path for path in sorted({exported / f"{model}.onnx", *exported.glob("*.onnx")})}
    sessions = {file: session(path, threads) for file, path in paths.items()}
    contracts = {file: read_contract(read_model(path)[0], path) for file, path in paths.items()}
    labels = len(contracts[f"{model}.onnx"]["labels"])
    contract = {"format": FORMAT, "model": model, "models": contracts}
    for path in paths.values():
        shutil.copyfile(path, folder / path.name)
    golden = golden_vectors(model, sessions, labels, settings.golden, settings.seed)
    variants = sorted(paths.keys() - golden.keys())
    golden |= {file: variant_vectors(sessions[file], golden[contracts[file]["of"]]) for file in variants}
    for file, arrays in golden.items():
        write_vectors(folder / f"{Path(file).stem}.golden.npz", arrays)
    write_json(folder / "contract.json", contract)
    return contract


def write_sbom(folder: Path, model: str) -> None:
    """Writes sbom.cdx.json, CycloneDX's bill of materials: MODEL.onnx with its hash, and every pinned library.

    It omits the optional serial number and time, so that equal lock files give equal bytes.
    """
    file = folder / f"{model}.onnx"
    hashes = [{"alg": "SHA-256", "content": sha256_file(file)}]
    subject = {"type": "machine-learning-model", "bom-ref": file.name, "name": file.name, "hashes": hashes}
    libraries = [_library(name, one) for name, versions in sorted(locked_versions().items()) for one in versions]
    bill = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "metadata": {"component": subject}}
    write_json(folder / "sbom.cdx.json", bill | {"components": libraries})


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
