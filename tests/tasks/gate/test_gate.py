"""The command on real bundles in ONNX Runtime: its decision, its files and its exit code."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from ruamel.yaml import YAML

from models.networks.classifier import Classifier, ClassifierConfig
from tasks.bundle.folder import write_bundle
from tasks.common.cli import run
from tasks.common.errors import UserError
from tasks.common.files import read_json, write_json
from tasks.common.paths import work_folder
from tasks.common.tensors import save_tensors
from tasks.evaluate.sampling import as_bytes
from tasks.export.session import run_onnx, session
from tasks.gate.__main__ import gate as decide_now
from tasks.gate.__main__ import main
from tasks.gate.bundles import GeneratorContract, generator_contract
from tasks.gate.record import NamedBundle
from tasks.metrics.frechet import Moments
from tasks.reference.evaluator import Evaluator
from tests.tasks.bundle.exported import SETTINGS, THREADS, fill

ROOT = Path(__file__).parents[3]
SHAPE = ClassifierConfig(image_channels=1, channels=2, features=8, classes=2, kind="classifier")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes two evaluators, real images from the live model's distribution, and its bundle."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        (root / "data").mkdir()
        fill(root)
        small_params(root)
        write_bundle("gan", SETTINGS, THREADS)
        shutil.copytree("data/bundle/gan", "live")
        write_reference(root)
    return root


def small_params(root: Path) -> None:
    params = YAML().load((ROOT / "params.yaml").read_text())
    params["threads"] = 1
    params["evaluate"] |= {"n_images": 400, "subsets": 10, "subset_size": 50}
    params["gate"]["bootstrap_samples"] = 100
    with (root / "params.yaml").open("w") as file:
        YAML().dump(params, file)


def write_reference(root: Path) -> None:
    torch.manual_seed(0)
    for name, shape in (("reference", SHAPE), ("reference_second", SHAPE.model_copy(update={"kind": "random"}))):
        write_evaluator(root, root / "data" / name, Evaluator(Classifier(shape)))


def write_evaluator(root: Path, folder: Path, evaluator: Evaluator) -> None:
    folder.mkdir()
    evaluator.save(folder)
    running = session(root / "live/gan.onnx", 1)
    noise = np.random.default_rng(5).standard_normal((1600, 4)).astype(np.float32)
    features = evaluator.features(as_bytes(run_onnx(running, noise)[0]))
    moments = Moments.of(features[400:])
    tensors = {"test": features[:400], "test_labels": np.arange(400) % 2, "train": features[400:]}
    tensors |= {"train_mean": moments.mean, "train_covariance": moments.covariance, "train_count": np.array(1200)}
    save_tensors(
        folder / "features.safetensors",
        {name: torch.as_tensor(each) for name, each in tensors.items()},
        {"prepared": ""},
    )
    write_json(folder / "evaluator.json", {"trusted": True})


def gate(project: Path, *arguments: str, file_name: str | None = "decision.json") -> tuple[int, dict[str, Any], str]:
    """Runs the command in this process; returns the exit code, the decision and the output."""
    file = project / (file_name or ".work/gate/gan.json")
    file.unlink(missing_ok=True)
    shutil.rmtree(file.with_suffix(""), ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as said, redirect_stderr(said):
        patch.chdir(project)
        patch.setattr(sys, "argv", ["gate", *arguments, *(["--json", file_name] if file_name else [])])
        work_folder.cache_clear()
        with pytest.raises(SystemExit) as ended:
            run(lambda: sys.exit(main()))
    work_folder.cache_clear()
    return int(str(ended.value)), read_json(file) if file.is_file() else {}, said.getvalue()


def altered(project: Path, factor: float, name: str) -> str:
    """A copy of the live bundle with one initialiser multiplied."""
    folder = project / name
    shutil.copytree(project / "live", folder)
    model = onnx.load(folder / "gan.onnx")
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "w0")
    weights.CopyFrom(numpy_helper.from_array(factor * numpy_helper.to_array(weights), "w0"))
    onnx.save(model, folder / "gan.onnx")
    return name


def test_the_live_model_may_take_its_own_place(project: Path) -> None:
    code, decision, said = gate(project, "live", "--live", "live")
    assert (code, decision["decision"], decision["reasons"]) == (0, "blessed", []), said
    assert decision["comparisons"]["fd_relative"]["estimate"] == pytest.approx(1)
    assert decision["candidate"]["sha256"] == decision["live"]["sha256"]
    assert decision["candidate"]["protocol"] == decision["live"]["protocol"]
    assert decision["candidate"]["protocol"]["n_images"] == 400
    assert {name: decision["candidate"][name] for name in ("bundle", "model", "memorises")} == {
        "bundle": "live",
        "model": "gan",
        "memorises": False,
    }
    assert decision["candidate"]["second"]["protocol"]["network"] == "random"
    assert decision["comparisons"]["fd_relative_second"]["estimate"] == pytest.approx(1)
    assert decision["settings"]["bootstrap_samples"] == 100
    assert "gate: blessed. The gate compared live (SHA-256 " in said
    assert "precision no worse, coverage no worse and no limit broken, and blessed the candidate" in said
    pictures = [(project / f"decision/{name}.png").read_bytes() for name in ("candidate", "live")]
    assert pictures[0] == pictures[1]


def test_an_altered_weight_is_refused_by_the_check(project: Path) -> None:
    code, decision, said = gate(project, altered(project, 1.1, "altered"), "--live", "live", file_name=None)
    assert (code, decision["decision"]) == (1, "refused"), said
    assert decision["reasons"] == ["bundle: gan.onnx was changed since it was bundled; get the bundle again"]


def test_a_worse_model_is_refused_and_a_person_may_overrule_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    altered(project, 0.3, "weak")
    shutil.copy("weak/gan.onnx", "data/onnx/gan/gan.onnx")
    write_bundle("gan", SETTINGS, THREADS)
    code, decision, said = gate(project, "data/bundle/gan", "--live", "live")
    assert (code, decision["decision"]) == (1, "refused"), said
    assert any(reason.startswith("regression: fd_relative") for reason in decision["reasons"])
    code, decision, said = gate(project, "data/bundle/gan", "--override", "Ada", "--because", "it is what we want")
    assert (code, decision["decision"]) == (0, "overridden"), said
    assert decision["override"] == {"by": "Ada", "because": "it is what we want"}
    assert decision["reasons"]


def rebuilt(project: Path, name: str, change: Callable[[onnx.ModelProto], None]) -> str:
    """Writes a complete bundle of the live model's file with a change in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        model = onnx.load("live/gan.onnx")
        change(model)
        onnx.save(model, "data/onnx/gan/gan.onnx")
        write_bundle("gan", SETTINGS, THREADS)
        shutil.copytree("data/bundle/gan", name)
    return name


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (["bag"], "its labels are bag, those of the live model bag, coat"),
        ([], "its labels are none, those of the live model bag, coat"),
    ],
)
def test_another_label_set_is_not_compared(project: Path, labels: list[str], why: str) -> None:
    def relabel(model: onnx.ModelProto) -> None:
        contract = json.loads(model.metadata_props[0].value) | {"labels": labels}
        model.metadata_props[0].value = json.dumps(contract)

    code, decision, said = gate(project, rebuilt(project, f"labels-{len(labels)}", relabel), "--live", "live")
    assert code == 1, said
    assert decision["reasons"] == [f"not comparable: {why}"]
    assert decision["live"] == {"bundle": "live"}


def test_another_size_is_not_compared() -> None:
    small, large = (GeneratorContract("gan", ["N", 1, side, side], [], conditional=False) for side in (8, 16))
    assert large.differs(small) == "its images are 1 x 16 x 16, those of the live model 1 x 8 x 8"
    assert small.differs(small) is None


def test_pictures_of_an_earlier_decision_do_not_stay(project: Path) -> None:
    (project / "earlier-decision").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        found = decide_now(Path(altered(project, 1.2, "cut")), None, Path("earlier-decision"))
    assert found.decision == "refused" and isinstance(found.candidate, NamedBundle)
    assert not (project / "earlier-decision").exists()


def test_bad_input_is_one_sentence(project: Path) -> None:
    command, environment = [sys.executable, "-m", "tasks.gate", "nowhere"], {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == "error: nowhere is not a bundle: it has no contract.json; name a folder like data/bundle/gan\n"
    )
    code, _, said = gate(project, "live", "--override", "Ada")
    assert code == 2
    assert "--override WHO and --because WHY must be given together" in said


@pytest.mark.parametrize("conditional", [False, True])
def test_a_second_input_is_the_label(tmp_path: Path, conditional: bool) -> None:
    outputs = [{"shape": ["N", 1, 8, 8]}]
    generator = {"inputs": ["noise", *(["label"] if conditional else [])], "outputs": outputs, "labels": ["bag"]}
    write_json(tmp_path / "contract.json", {"model": "gan", "models": {"gan.onnx": generator}})
    assert generator_contract(tmp_path) == GeneratorContract("gan", ["N", 1, 8, 8], ["bag"], conditional)


def test_a_contract_of_another_form_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "contract.json", {"model": "gan", "models": {}})
    with pytest.raises(UserError, match=r"contract\.json cannot be read .*gan\.onnx.*; make the bundle again"):
        generator_contract(tmp_path)


def test_an_evaluator_that_fails_its_checks_decides_nothing(project: Path) -> None:
    write_json(project / "data/reference/evaluator.json", {"trusted": False})
    code, _, said = gate(project, "live")
    write_json(project / "data/reference/evaluator.json", {"trusted": True})
    assert code == 2
    assert "the first evaluator fails its own checks" in said


def test_a_second_evaluator_that_fails_its_checks_is_not_used(project: Path) -> None:
    write_json(project / "data/reference_second/evaluator.json", {"trusted": False})
    code, decision, said = gate(project, "live", "--live", "live")
    write_json(project / "data/reference_second/evaluator.json", {"trusted": True})
    assert code == 0, said
    assert "fd_relative_second" not in decision["comparisons"]
    assert decision["candidate"]["second"] is None
    assert "not used: the second evaluator, which fails its own checks" in said


def test_images_with_nan_are_refused_as_such(project: Path) -> None:
    """The file breaks for noise beyond the golden noise, so the bundle passes its check."""
    with np.load(project / "live/gan.golden.npz") as golden:
        farthest = float(golden["noise"].max())

    def break_beyond(model: onnx.ModelProto) -> None:
        limit = numpy_helper.from_array(np.float32([farthest + 0.01]), "limit")
        nothing = numpy_helper.from_array(np.zeros((4, 64), np.float32), "nothing")
        model.graph.initializer.extend([limit, nothing])
        model.graph.node[0].output[0] = "plain"
        nodes = [
            helper.make_node("Sub", ["limit", "noise"], ["left"]),
            helper.make_node("Sqrt", ["left"], ["root"]),
            helper.make_node("MatMul", ["root", "nothing"], ["zero"]),
            helper.make_node("Add", ["plain", "zero"], ["logits"]),
        ]
        others = list(model.graph.node)
        del model.graph.node[:]
        model.graph.node.extend([others[0], *nodes, *others[1:]])

    code, decision, said = gate(project, rebuilt(project, "broken", break_beyond))
    assert code == 1, said
    assert re.fullmatch(
        r"images: \d+ of 400 images from the exported file hold NaN or infinity", decision["reasons"][0]
    )
    assert not (project / "decision").exists()
