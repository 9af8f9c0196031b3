"""What a third model costs: a denoiser, which maps images to images, is added to a checkout in seven files.

It then goes from data to bundle, report and gate like the two that are there. Its files are in tests/third_model.
"""

import re
import shutil
from pathlib import Path

import pytest

from tasks.common.files import read_json
from tests.conftest import ROOT, Checkout
from tests.test_end_to_end import prepare

pytestmark = pytest.mark.long
SETTINGS = '''class DenoiserSettings(LearnerSettings):
    """A network that removes Gaussian noise from images."""

    in_form = (*LearnerSettings.in_form, "noise_level")

    channels: Count = Field(description="Channels of the hidden layer.")
    noise_level: Weight = Field(description="Standard deviation of the noise, of pixels in [-1, 1].")
    optimiser: OptimiserSettings


class TrainingSections(Settings):'''
PARAMS = """train_denoiser:
  seed: 0
  channels: 8
  noise_level: 0.3
  batch: 64
  micro_batch: 0
  optimiser: {name: adam, learning_rate: 0.003, beta1: 0.9, beta2: 0.999, weight_decay: 0, decay_start: 1}
  stop: {n_images: 6400, patience: 0, max_seconds: 0}
  log_every: 640
  probe_every: 1280
  checkpoint_every: 3200
  rollbacks: 0

export:
"""
STAGES = ("train", "export", "evaluate", "bundle")
FILES = {
    "dvc.yaml",
    "models/learners/denoiser.py",
    "models/networks/denoiser.py",
    "models/settings.py",
    "params.yaml",
    "tasks/export/denoiser.py",
    "tasks/train/denoiser.py",
}


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new))


def add_denoiser(checkout: Checkout) -> None:
    """Makes the changes that a developer makes for a new model."""
    shutil.copytree(ROOT / "tests/third_model", checkout.path, dirs_exist_ok=True)
    replace(checkout / "models/settings.py", "class TrainingSections(Settings):", SETTINGS)
    replace(
        checkout / "models/settings.py",
        "    train_vae: VaeSettings\n",
        "    train_vae: VaeSettings\n    train_denoiser: DenoiserSettings\n",
    )
    replace(checkout / "params.yaml", "export:\n", PARAMS)
    text = (checkout / "dvc.yaml").read_text()
    blocks = [re.findall(rf"(?ms)^  {stage}_gan:\n.*?(?=^  \w)", text + "  end")[0] for stage in STAGES]
    stages = "".join(re.sub(r"\bgan\b|(?<=_)gan\b", "denoiser", block) for block in blocks)
    (checkout / "dvc.yaml").write_text(text.replace("stages:\n", f"stages:\n{stages}", 1))
    (checkout / "tests").mkdir()
    (checkout / "tests/__init__.py").touch()
    shutil.copy(ROOT / "tests/closure.py", checkout / "tests/closure.py")
    assert checkout.python("-m", "tests.closure").returncode == 0  # `make deps`
    shutil.rmtree(checkout / "tests")


def test_a_third_model_costs_seven_files_and_reaches_bundle_report_and_gate(tmp_path: Path) -> None:
    checkout = prepare(tmp_path / "project")
    checkout.set_params(gate__limits__fd_relative=5.0, gate__limits__precision=0.0, gate__limits__coverage=0.0)
    checkout.set_params(gate__limits__label_share=0.0, gate__limits__memorised=1.0)
    checkout.set_params(reference__channels=8, reference__stop__n_images=32000)  # an evaluator that passes its checks
    for command in (["add", "-A"], ["-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-qm", "Data"]):
        assert checkout.run("git", *command).returncode == 0
    add_denoiser(checkout)
    changed = checkout.run("git", "status", "--porcelain", "--untracked-files=all").stdout.splitlines()
    assert {line[3:] for line in changed} == FILES

    done = checkout.run("dvc", "--wait-for-lock", "repro", "bundle_denoiser")
    assert done.returncode == 0, done.stdout + done.stderr
    contract = read_json(checkout / "data/bundle/denoiser/contract.json")["models"]["denoiser.onnx"]
    assert [contract[side][0]["shape"] for side in ("inputs", "outputs")] == [["N", 1, 28, 28]] * 2
    assert contract["noise_distribution"] is None
    assert checkout.python("data/bundle/denoiser/verify.py").returncode == 0
    metrics = read_json(checkout / "data/metrics/denoiser.json")
    assert metrics["fd_relative"] < 1

    assert checkout.python("-m", "flows", "report").returncode == 0
    assert "DENOISER" in (checkout / "report/index.html").read_text()
    gated = checkout.python("-m", "flows", "gate", "data/bundle/denoiser")
    assert gated.returncode == 0, gated.stdout + gated.stderr
    form = checkout.python("-c", "from flows.ui.form import FORM_PARAMETERS, MODELS; print(MODELS, FORM_PARAMETERS)")
    assert "'denoiser'" in form.stdout and "'train_denoiser.noise_level'" in form.stdout
