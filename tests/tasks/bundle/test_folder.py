"""What lies in a bundle, that it repeats byte for byte, and that a bad one never replaces a good one."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from onnx import helper, numpy_helper
from ruamel.yaml import YAML

from tasks.bundle.folder import write_bundle
from tasks.common.errors import UserError
from tasks.common.files import read_json, sha256_file, sha256_tree, write_json
from tasks.common.params import BundleSettings
from tasks.export.files import make_contract, write_checked
from tasks.export.graphs import build_graphs
from tests.conftest import ROOT
from tests.tasks.bundle.exported import LENGTH, PIXELS, SETTINGS, THREADS, fill, weights
from tests.tasks.export.test_export import CPU, conditional_gan
from tests.tasks.export.test_export import SETTINGS as EXPORT


def test_sums_are_read_by_sha256sum(bundle: Path) -> None:
    check = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=bundle, capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout
    assert len(check.stdout.splitlines()) == len(list(bundle.iterdir())) - 1


def test_golden_vectors_chain_noise_codes_and_images(project: Path) -> None:
    write_bundle("vae", SETTINGS, THREADS)
    golden = {path.name: dict(np.load(path)) for path in (project / "data/bundle/vae").glob("*.npz")}
    made, coded, decoded = (golden[f"{stem}.golden.npz"] for stem in ("vae", "encoder", "decoder"))
    assert made["noise"].shape == (5, LENGTH)
    assert made["noise"].dtype == made["image"].dtype == np.float32
    np.testing.assert_array_equal(coded["image"], made["image"])
    np.testing.assert_array_equal(decoded["latent"], coded["mean"])
    logits = made["noise"] @ numpy_helper.to_array(weights(0, LENGTH, PIXELS))
    np.testing.assert_allclose(made["image"].reshape(5, -1), 1 / (1 + np.exp(-logits)), atol=1e-5)


def test_two_folders_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trees = []
    for name in ("here", "there/deeper"):
        root = tmp_path / name
        (root / "data").mkdir(parents=True)
        monkeypatch.chdir(root)
        fill(root)
        write_bundle("vae", SETTINGS, THREADS)
        trees.append(sha256_tree(root / "data/bundle"))
    assert trees[0] == trees[1]
    assert len(trees[0]) == 14
    write_bundle("vae", BundleSettings(golden=5, seed=2), THREADS)
    assert sha256_tree(root / "data/bundle")["vae/vae.golden.npz"] != trees[0]["vae/vae.golden.npz"]


def test_the_bill_of_materials_keeps_to_its_schema_and_to_the_lock(bundle: Path) -> None:
    text = (bundle / "sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    assert bill["metadata"]["component"]["hashes"][0]["content"] == sha256_file(bundle / "gan.onnx")
    lock = (ROOT / "requirements.lock").read_text()
    assert len(bill["components"]) == len(re.findall(r"(?m)^[\w.-]+==", lock))
    assert all(f"\n{one['name']}=={one['version']} " in f"\n{lock}" for one in bill["components"])


@pytest.mark.parametrize("model", ["gan", "vae"])
def test_the_card_runs_and_tells_the_figures(project: Path, model: str) -> None:
    write_bundle(model, SETTINGS, THREADS)
    folder = project / "data/bundle" / model
    card = (folder / "README.md").read_text()
    front = card.split("---\n")[1]
    assert {"library_name": "onnx", "license": "other"}.items() <= YAML(typ="safe").load(front).items()
    assert (
        "Images rejected before training: 1 truncated.\n"
        "Trained with: not recorded, since earlier code trained the weights.\n"
        "Exported with torch 2.14.1; `sbom.cdx.json` lists every library of requirements.lock." in card
    )
    assert "| `fd_relative` | 0.0213 | 0.00100 | lower |" in card
    assert "| `precision` | 0.700 | - | higher |" in card
    assert "80 were used for training" in card
    assert all(f"]({name})" in card for name in (path.name for path in folder.glob("*.png")))
    code = "\n".join(re.findall(r"```python\n(.*?)```", card, re.DOTALL))
    assert len(re.findall(r"```python\n(.*?)```", card, re.DOTALL)[0].splitlines()) <= 10
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    assert (folder / "first.png").is_file()


def export_conditional_gan(project: Path) -> list[str]:
    """A GAN that takes labels and its variants, with evaluation results."""
    tensors, about = conditional_gan()
    graph, folder = build_graphs(tensors, about)["gan.onnx"], project / "data/onnx/gan"
    made = write_checked(folder, graph, make_contract("gan.onnx", graph, about, 1e-4), EXPORT, CPU)
    files = [file for file, _ in made]
    evaluated = read_json(project / "data/evaluation/gan.json")
    alike = {file: {"within_one": 0.99954} for file in files[1:]}
    write_json(project / "data/evaluation/gan.json", evaluated | {"variants": alike})
    return files


def test_variants_ship_with_golden_vectors_of_their_own(project: Path) -> None:
    assert len(export_conditional_gan(project)) == 4
    write_bundle("gan", SETTINGS, THREADS)
    folder = project / "data/bundle/gan"
    golden = {path.name: dict(np.load(path)) for path in folder.glob("*.npz")}
    assert len(golden) == 4
    plain, fixed = golden["gan.golden.npz"], golden["gan.batch16.golden.npz"]
    assert plain["noise"].shape[0] == 5  # fewer than the fixed batch, so that they come again
    np.testing.assert_array_equal(fixed["noise"][5:10], plain["noise"])
    np.testing.assert_allclose(fixed["image"][5:10], plain["image"], atol=1e-6)
    pixels = golden["gan.uint8.golden.npz"]["image"]
    np.testing.assert_array_equal(pixels, np.rint(plain["image"] * 255).transpose(0, 2, 3, 1))
    assert (
        "| `gan.uint8.onnx` | returns pixels as bytes, uint8 [N, 28, 28, 1] | 99.95% |"
        in (folder / "README.md").read_text()
    )
    assert "a label that does not exist" in (folder / "README.md").read_text()
    trained = (
        "Trained with: numpy 2.4.6, torch 2.11.0 on cpu AVX2 (cpu/float32, 2 threads).\nExported with torch 2.14.1;"
    )
    assert trained in (folder / "README.md").read_text()
    check = subprocess.run([sys.executable, "verify.py"], cwd=folder, capture_output=True, text=True, check=True)
    assert "gan.batch16.onnx: image for N = 16 is as promised" in check.stdout
    assert "gan.batch16.onnx: image for N = 1 " not in check.stdout
    assert "gan.uint8.onnx: outputs image uint8 [N, 28, 28, 1]" in check.stdout


def test_bytes_may_be_one_step_from_their_golden_values(project: Path) -> None:
    export_conditional_gan(project)
    write_bundle("gan", SETTINGS, THREADS)
    folder = project / "data/bundle/gan"
    arrays = dict(np.load(folder / "gan.uint8.golden.npz"))
    first = int(arrays["image"][0, 0, 0, 0])
    for by, fine in ((1, True), (2, False), (128, False)):
        arrays["image"][0, 0, 0, 0] = (first + by) % 256
        np.savez(folder / "gan.uint8.golden.npz", **arrays)
        sums = sha256_tree(folder, without=frozenset({"SHA256SUMS"}))
        (folder / "SHA256SUMS").write_text("".join(f"{sha}  {name}\n" for name, sha in sums.items()))
        check = subprocess.run([sys.executable, "verify.py"], cwd=folder, capture_output=True, text=True, check=False)
        assert (check.returncode == 0) == fine, check.stdout
        assert fine or "away from the golden values, beyond 1" in check.stdout


def test_a_model_that_takes_a_label_ships_with_it(project: Path) -> None:
    export_conditional_gan(project)
    about = conditional_gan()[1]
    manifest = json.loads((project / "data/prepared/manifest.json").read_text())
    (project / "data/prepared/manifest.json").write_text(json.dumps(manifest | {"labels": about["labels"]}))
    write_bundle("gan", SETTINGS, THREADS)
    folder = project / "data/bundle/gan"
    with np.load(folder / "gan.golden.npz") as golden:
        assert golden["label"].tolist() == [0, 1, 2, 0, 1]
        assert golden["label"].dtype == np.int64
    card = (folder / "README.md").read_text()
    assert "| 2 | c |" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(code.splitlines()) <= 10
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    assert (folder / "first.png").is_file()


def test_a_missing_input_is_one_sentence_and_keeps_the_old_bundle(bundle: Path, project: Path) -> None:
    before = sha256_tree(bundle)
    (project / "data/evaluation/gan.json").unlink()
    with pytest.raises(UserError, match=r"gan\.json is missing; run the stage"):
        write_bundle("gan", SETTINGS, THREADS)
    (project / "data/onnx/gan/gan.onnx").unlink()
    with pytest.raises(UserError, match=r"gan\.onnx cannot be run .* run the export stage again"):
        write_bundle("gan", SETTINGS, THREADS)
    assert sha256_tree(bundle) == before
    assert [path.name for path in (project / "data/bundle").iterdir()] == ["gan"]


def test_a_file_without_contract_is_refused(project: Path) -> None:
    path = project / "data/onnx/gan/gan.onnx"
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    with pytest.raises(UserError, match="carries no contract: it was cut short"):
        write_bundle("gan", SETTINGS, THREADS)


def test_a_bundle_that_fails_its_own_check_does_not_ship(bundle: Path, project: Path) -> None:
    before = sha256_tree(bundle)
    path = project / "data/onnx/gan/gan.onnx"
    model = onnx.load(path)
    contract = json.loads(model.metadata_props[0].value) | {"range": [0.4, 0.6]}
    helper.set_model_props(model, {"imagewright.contract": json.dumps(contract)})
    onnx.save(model, path)
    with pytest.raises(UserError, match=r"fails its own check.*outside \[0.4, 0.6\]"):
        write_bundle("gan", SETTINGS, THREADS)
    assert sha256_tree(bundle) == before
