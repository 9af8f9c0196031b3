"""verify.py as a consumer runs it: what it accepts, and every kind of damage that it must find."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tasks.bundle.folder import write_bundle
from tasks.bundle.verify import verify_files
from tasks.common.files import read_json, sha256_file, sha256_tree, write_json
from tasks.release.signature import make_keys, sign
from tests.tasks.bundle.consumer import faults, verify
from tests.tasks.bundle.exported import LENGTH, SETTINGS, THREADS, vector


def repair_sums(folder: Path) -> None:
    """What somebody does who changes a file and hides it."""
    sums = sha256_tree(folder, without=frozenset({"SHA256SUMS"}))
    (folder / "SHA256SUMS").write_text("".join(f"{sha}  {name}\n" for name, sha in sums.items()))


def change_golden(folder: Path, by: float) -> None:
    with np.load(folder / "gan.golden.npz") as archive:
        arrays = dict(archive)
    arrays["image"][0, 0, 0, 0] += by
    np.savez(folder / "gan.golden.npz", **arrays)
    repair_sums(folder)


@pytest.mark.parametrize("model", ["gan", "vae"])
def test_a_fresh_bundle_verifies_from_any_folder(project: Path, model: str) -> None:
    facts = write_bundle(model, SETTINGS, THREADS)
    folder = project / "data/bundle" / model
    assert facts["files"] == len(list(folder.iterdir()))
    check = verify(folder, cwd=Path("/"))
    assert check.returncode == 0, check.stdout + check.stderr
    assert "every hash right" in check.stdout
    for file in (path.name for path in folder.glob("*.onnx")):
        assert re.search(rf"{file}: .* N = 1 is as promised on CPUExecutionProvider", check.stdout)
        assert re.search(rf"{file}: .* N = 5 is as promised", check.stdout)
    assert sorted(path.name for path in (project / "data/bundle").iterdir()) == [model]


def test_one_flipped_byte_is_found(bundle: Path) -> None:
    data = bytearray((bundle / "gan.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "gan.onnx").write_bytes(data)
    assert faults(bundle) == ["FAIL  gan.onnx was changed since it was bundled; get the bundle again"]


def test_an_extra_and_a_missing_file_are_found(bundle: Path) -> None:
    (bundle / "notes.txt").write_text("mine")
    (bundle / "grid.png").unlink()
    assert [fault.split()[1] for fault in faults(bundle)] == ["grid.png", "notes.txt"]


def test_any_byte_that_changes_is_found(shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By a copy of verify.py from elsewhere: what a changed script says of itself proves nothing."""
    make_keys(tmp_path / "mine.pem")
    sign(shipped, tmp_path / "mine.pem")
    random, files = np.random.default_rng(0), sorted(path for path in shipped.iterdir())
    assert verify_files(shipped) and {"verify.py", "SHA256SUMS", "lineage.json", "model.sig"} <= {
        path.name for path in files
    }
    found = 0
    for trial in range(200):
        path = files[trial % len(files)]
        whole = path.read_bytes()
        place, other = int(random.integers(len(whole))), int(random.integers(1, 256))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ other]) + whole[place + 1 :])
        found += not verify_files(shipped)
        path.write_bytes(whole)
    assert found == 200
    assert verify_files(shipped)
    assert "Traceback" not in capsys.readouterr().out


def test_every_byte_of_the_list_counts(shipped: Path) -> None:
    whole = (shipped / "SHA256SUMS").read_bytes()
    for changed in (
        whole.upper(),
        whole.replace(b"\n", b"\r\n"),
        whole + b"\n",
        whole[:-1],
        b"".join(whole.splitlines()),
    ):
        (shipped / "SHA256SUMS").write_bytes(changed)
        assert not verify_files(shipped)
    (shipped / "SHA256SUMS").unlink()
    assert faults(shipped) == ["FAIL  SHA256SUMS is missing, so the files cannot be checked; get the bundle again"]


def test_its_own_text_is_checked_by_a_copy_and_by_the_script_itself(shipped: Path, tmp_path: Path) -> None:
    shutil.copy(shipped / "verify.py", tmp_path / "trusted.py")
    text = (shipped / "verify.py").read_text()
    (shipped / "verify.py").write_text(text.replace("Checks this folder", "Checks that folder"))
    assert faults(shipped)[0].startswith("FAIL  verify.py was changed")
    command = [sys.executable, str(tmp_path / "trusted.py"), str(shipped)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_a_golden_image_beyond_tolerance_is_found(bundle: Path) -> None:
    change_golden(bundle, 0.9e-4)
    assert verify(bundle).returncode == 0
    change_golden(bundle, 0.9e-4)
    found = faults(bundle)
    assert len(found) == 2  # one alone, and all at once
    assert "0.00018 away from the golden values, beyond 0.0001" in found[0]


def test_a_golden_nan_is_found(bundle: Path) -> None:
    change_golden(bundle, float("nan"))
    assert "nan away" in faults(bundle)[0]


def rewrite(folder: Path, **changes: object) -> None:
    """Changes contract.json alone, not what the .onnx file carries."""
    contract = read_json(folder / "contract.json")
    contract["models"]["gan.onnx"] |= changes
    write_json(folder / "contract.json", contract)
    repair_sums(folder)


def test_a_loosened_contract_is_found(bundle: Path) -> None:
    rewrite(bundle, tolerance=0.5)
    assert faults(bundle) == ["FAIL  gan.onnx: the contract inside is not the one in contract.json"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": "z"}, "promised were z float32 [N, 4]"),
        ({"dtype": "float16"}, "promised were noise float16 [N, 4]"),
        ({"shape": [1, LENGTH]}, "promised were noise float32 [1, 4]"),
    ],
)
def test_another_input_than_promised_is_found(bundle: Path, change: dict[str, Any], sentence: str) -> None:
    rewrite(bundle, inputs=[vector("noise") | change])
    assert any(sentence in fault for fault in faults(bundle))


def test_images_out_of_range_are_found(bundle: Path) -> None:
    rewrite(bundle, range=[0.2, 0.8])
    assert any("outside [0.2, 0.8]" in fault for fault in faults(bundle))


def test_a_damaged_file_with_mended_sums_is_a_sentence(bundle: Path) -> None:
    (bundle / "gan.onnx").write_bytes((bundle / "gan.onnx").read_bytes()[:100])
    repair_sums(bundle)
    assert len(faults(bundle)) == 1
    (bundle / "contract.json").write_text("{")
    repair_sums(bundle)
    assert "contract.json cannot be read" in faults(bundle)[0]
    (bundle / "SHA256SUMS").unlink()
    assert "SHA256SUMS" in faults(bundle)[0]


def of_opset_99(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 99


def outside(place: str) -> Callable[[onnx.ModelProto], None]:
    """Weights that are said to lie in another file, of the right size where it is there."""

    def change(model: onnx.ModelProto) -> None:
        weights = model.graph.initializer[0]
        weights.ClearField("raw_data")
        weights.data_location = onnx.TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=place)

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (of_opset_99, "till opset"),
        (outside("../secret.bin"), "escapes model directory"),
        (outside("/etc/passwd"), "Absolute path not allowed"),
        (outside("missing.bin"), "does not exist"),
    ],
)
def test_a_hostile_file_with_mended_sums_is_a_sentence(
    bundle: Path, change: Callable[[onnx.ModelProto], None], sentence: str
) -> None:
    model = onnx.load(bundle / "gan.onnx")
    (bundle.parent / "secret.bin").write_bytes(model.graph.initializer[0].raw_data)
    change(model)
    (bundle / "gan.onnx").write_bytes(model.SerializeToString())
    repair_sums(bundle)
    [fault] = faults(bundle)
    assert fault.startswith("FAIL  gan.onnx: ")
    assert sentence in fault


def test_missing_onnxruntime_is_a_sentence(bundle: Path, tmp_path: Path) -> None:
    blocked = (
        "import runpy, sys; sys.modules['onnxruntime'] = None; runpy.run_path(sys.argv.pop(), run_name='__main__')"
    )
    command = [sys.executable, "-c", blocked, str(bundle / "verify.py")]
    check = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert check.returncode == 1
    assert "FAIL  onnxruntime is missing; install both with `pip install numpy onnxruntime`" in check.stdout


def test_verify_imports_nothing_of_the_project(bundle: Path) -> None:
    assert not re.search(r"^\s*(from|import) (tasks|models|flows)", (bundle / "verify.py").read_text(), re.MULTILINE)
    assert sha256_file(bundle / "verify.py") == sha256_file(Path(__file__).parents[3] / "tasks/bundle/verify.py")
