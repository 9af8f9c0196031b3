"""Real bundles of small untrained networks, and the ways in which one can be bad."""

import contextlib
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.networks.gan import GanConfig, Generator
from models.networks.prior import FlowPrior
from models.networks.vae import Decoder, Encoder, VaeConfig
from models.training.state import network_tensors
from tasks.bundle.folder import write_bundle
from tasks.common.files import read_json, sha256_file, sha256_tree, write_json
from tasks.common.params import BundleSettings, load_params
from tasks.common.tensors import save_tensors
from tasks.export.files import export
from tests.conftest import ROOT

LABELS = ["bag", "coat", "shoe"]
FORMAT_3 = "a contract of format 3, and this program reads formats 1 and 2"
CHANGED = "gan.onnx was changed since it was bundled; get the bundle again"


def make_bundle(root: Path, name: str) -> Path:
    """A bundle of a `gan` (grey), a `vae` (colour) or a GAN that is `told` a label, made under an empty folder."""
    torch.manual_seed(0)
    networks, shape = _vae() if name == "vae" else _gan(len(LABELS) if name == "told" else 0)
    model = "vae" if name == "vae" else "gan"
    splits = {split: {"count": 10} for split in ("train", "validation", "test")}
    for folder in (f"weights/{model}", "prepared", "evaluation"):
        (root / "data" / folder).mkdir(parents=True)
    manifest = {"source": "folder", "labels": LABELS, "splits": splits, "rejected": {}}
    write_json(root / "data/prepared/manifest.json", manifest)
    origin = {"data": sha256_file(root / "data/prepared/manifest.json"), "code": "b" * 64, "params": "c" * 64}
    about = {"model": model, "shape": shape.model_dump(), "labels": LABELS, "hashes": origin}
    save_tensors(root / f"data/weights/{model}/weights.safetensors", network_tensors(networks), about)
    for file in ("dvc.yaml", "models", "params.yaml", "requirements.lock", "tasks"):
        (root / file).symlink_to(ROOT / file)
    with contextlib.chdir(root):
        export(model, load_params(ROOT / "params.yaml"))
        alike = {path.name: {"within_one": 1.0} for path in Path("data/onnx", model).iterdir()}
        evaluated = {"metrics": {"coverage": 0.8}, "floor": {}, "protocol": {"seed": 0}, "variants": alike}
        write_json(Path(f"data/evaluation/{model}.json"), evaluated)
        write_bundle(model, BundleSettings(golden=5, seed=1), 1)
    return root / "data/bundle" / model


def _gan(classes: int) -> tuple[dict[str, nn.Module], Any]:
    shape = GanConfig(size=28, image_channels=1, noise=6, classes=classes, channels=2, upsample="transposed")
    return {"generator": Generator(shape)}, shape


def _vae() -> tuple[dict[str, nn.Module], Any]:
    fixed = {"size": 32, "image_channels": 3, "classes": 0, "channels": 2, "network": "residual", "output": "linear"}
    shape = VaeConfig.model_validate(fixed | {"latent": 5, "prior_layers": 2, "prior_width": 4})
    return {"encoder": Encoder(shape), "decoder": Decoder(shape), "prior": FlowPrior(5, 2, 4)}, shape


def damaged(bundle: Path, place: Path, damage: str) -> Path:
    """A copy of the bundle at `place` with one thing wrong; where a file changed, `repaired` says the sums hide it."""
    shutil.copytree(bundle, place)
    if damage in ("format", "format 1"):  # of which the second is none: programs read both formats
        number = 3 if damage == "format" else 1
        write_json(place / "contract.json", read_json(place / "contract.json") | {"format": number})
    if damage.startswith("truncated"):
        (place / "gan.onnx").write_bytes((bundle / "gan.onnx").read_bytes()[:500])
    if damage == "missing":
        (place / "gan.onnx").unlink()
    if damage in ("format", "format 1", "truncated and repaired"):
        sums = sha256_tree(place, without=frozenset({"SHA256SUMS"}))
        (place / "SHA256SUMS").write_text("".join(f"{sha}  {name}\n" for name, sha in sums.items()))
    return place


DAMAGES = [
    ("format", FORMAT_3),
    ("truncated", CHANGED),
    ("truncated and repaired", "gan.onnx cannot be loaded"),
    ("missing", "gan.onnx is missing; get the bundle again"),
]
