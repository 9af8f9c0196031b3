"""Writes data/bundle/MODEL from the exported files, their metrics and their pictures."""

import shutil
from pathlib import Path

from tasks.bundle import verify
from tasks.bundle.card import model_card
from tasks.bundle.faults import bundle_faults
from tasks.bundle.golden import golden_vectors, variant_vectors, write_vectors
from tasks.bundle.sbom import write_sbom
from tasks.bundle.sums import write_sums
from tasks.common.errors import UserError
from tasks.common.files import read_json, replacing, write_bytes, write_json
from tasks.common.params import BundleSettings
from tasks.export.checks import read_model
from tasks.export.contract import FORMAT, read_contract
from tasks.export.session import session

MANIFEST = Path("data/prepared/manifest.json")


def write_bundle(model: str, settings: BundleSettings, threads: int) -> dict[str, object]:
    """Writes data/bundle/MODEL, checked by its own verify.py before it replaces the old one.

    Returns the receipt's facts. Raises UserError when an input is missing or the check fails; the old bundle stays.
    """
    with replacing(Path("data/bundle") / model) as folder:
        folder.mkdir()
        contract = _add_models(model, folder, settings, threads)
        pictures = _add_pictures(model, folder)
        evaluated = read_json(Path("data/evaluation") / f"{model}.json")
        card = model_card(model, contract, evaluated, read_json(MANIFEST), pictures)
        write_bytes(folder / "README.md", card.encode())
        shutil.copyfile(verify.__file__, folder / "verify.py")
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


def _add_pictures(model: str, folder: Path) -> list[str]:
    pictures = sorted((Path("data/samples") / model).glob("*.png"))
    for picture in pictures:
        shutil.copyfile(picture, folder / picture.name)
    return [picture.name for picture in pictures]
