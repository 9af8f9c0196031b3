"""dvc.yaml against the code: its deps cover what a stage imports, its params match the models that read them."""

import re

import pytest
from ruamel.yaml import YAML

from tasks.common.model_names import MODELS
from tasks.common.params import Params
from tests.closure import ROOT, STAGES, expected_code, module_of, with_code


def test_every_section_of_params_is_in_the_model_and_is_read() -> None:
    values = YAML(typ="safe").load(ROOT / "params.yaml")
    assert values.keys() == Params.model_fields.keys()
    read = {key.split(".")[0] for stage in STAGES.values() for key in stage["params"]}
    assert read == Params.model_fields.keys() - {"gate"}  # which is not a stage


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_named_as_its_module_and_its_section(stage: str) -> None:
    module = module_of(stage).removeprefix("tasks.")
    stem, _, model = stage.rpartition("_")
    assert stage == (module.replace(".", "_") if model not in MODELS or "." in module else f"{module}_{model}")
    assert {stage, stem if model in MODELS else stage} & set(STAGES[stage]["params"])


def test_no_output_disables_the_run_cache_and_trainings_share_one_device() -> None:
    """`persist` would disable it, and so would an uncached output that is neither a metric nor a plot."""
    assert "persist" not in (ROOT / "dvc.yaml").read_text()
    assert all(isinstance(out, str) for stage in STAGES.values() for out in stage["outs"])
    computing = [stage for stage in STAGES if stage.startswith(("reference", "train"))]
    assert {STAGES[stage]["meta"]["resource"] for stage in computing} == {"device"}


EXPORT, EVALUATE, BUNDLE = ({f"{what}_{model}" for model in MODELS} for what in ("export", "evaluate", "bundle"))
# The stages that an edit of a file runs again. Evaluation, release and report must not need a training.
RERUNS = {
    "tasks/evaluate/vae.py": {"evaluate_vae"},
    "tasks/export/gan.py": {"export_gan"},
    "models/networks/vae.py": {"train_vae", "export_vae"},
    "tasks/evaluate/scores.py": EVALUATE,
    "tasks/metrics/neighbours.py": EVALUATE,
    "tasks/bundle/verify.py": BUNDLE,
    "tasks/export/files.py": EXPORT,
    "requirements.lock": EXPORT | BUNDLE,
    "tasks/release/lineage/collect.py": set(),
    "tasks/reference/validate.py": {"reference", "reference_second"},
    "tasks/reference/evaluator.py": {"reference", "reference_second"} | EVALUATE,
    "models/learners/gan.py": {"train_gan"},
    "models/learners/vae.py": {"train_vae"},
    "models/losses/adversarial.py": {"train_gan"},
    "tasks/common/params.py": set(),
    "tasks/common/cli.py": set(),
    "tasks/train/previews.py": set(),
    "tasks/report/page.py": set(),
    "flows/pipeline.py": set(),
}


@pytest.mark.parametrize("file", RERUNS)
def test_what_an_edit_runs_again(file: str) -> None:
    assert (ROOT / file).is_file()
    assert {stage for stage in STAGES if file in STAGES[stage]["deps"]} == RERUNS[file]


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_the_import_closure(stage: str) -> None:
    """`make deps` writes them."""
    declared = {dep for dep in STAGES[stage]["deps"] if dep.startswith(("tasks/", "models/"))}
    assert declared == expected_code(stage)


def test_make_deps_writes_what_is_missing_and_nothing_else() -> None:
    text = (ROOT / "dvc.yaml").read_text()
    assert with_code(text) == text
    assert with_code(re.sub(r"      - (tasks/export|models/gan)\.py\n", "", text)) == text
