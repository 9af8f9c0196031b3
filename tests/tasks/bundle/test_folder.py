"""What lies in a bundle, that it repeats byte for byte, and that a bad one never replaces a good one."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tasks.bundle.folder import write_bundle
from tasks.errors import UserError
from tasks.export import example_inputs, make_contract, to_onnx
from tasks.files import sha256_tree
from tasks.graphs import build_graphs
from tasks.params import BundleSettings, load_params
from tests.tasks.bundle.exported import LENGTH, PIXELS, SETTINGS, THREADS, fill, weights
from tests.tasks.test_export import told_gan


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
    assert len(trees[0]) == 13
    write_bundle("vae", BundleSettings(golden=5, seed=2), THREADS)
    assert sha256_tree(root / "data/bundle")["vae/vae.golden.npz"] != trees[0]["vae/vae.golden.npz"]


@pytest.mark.parametrize("model", ["gan", "vae"])
def test_the_card_runs_and_tells_the_figures(project: Path, model: str) -> None:
    write_bundle(model, SETTINGS, THREADS)
    folder = project / "data/bundle" / model
    card = (folder / "README.md").read_text()
    front = card.split("---\n")[1]
    assert "library_name: onnx" in front
    assert "| `fd_relative` | 0.0213 | 0.00100 | lower |" in card
    assert "| `precision` | 0.700 | - | higher |" in card
    assert "80 images trained it" in card
    assert all(f"]({name})" in card for name in (path.name for path in folder.glob("*.png")))
    code = "\n".join(re.findall(r"```python\n(.*?)```", card, re.DOTALL))
    assert len(re.findall(r"```python\n(.*?)```", card, re.DOTALL)[0].splitlines()) <= 10
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    assert (folder / "first.png").is_file()


def test_a_model_that_takes_a_label_ships_with_it(project: Path) -> None:
    tensors, about = told_gan()
    contract, settings = make_contract("gan.onnx", about, 1e-4), load_params().export
    graph = build_graphs(tensors, about)["gan.onnx"]
    made = to_onnx(graph, example_inputs("gan.onnx", about["shape"], 2), contract, settings)  # type: ignore[arg-type]
    (project / "data/onnx/gan/gan.onnx").write_bytes(made)
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
    (project / "data/judged/gan.json").unlink()
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
    with pytest.raises(UserError, match="carries no contract; run the export stage"):
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
