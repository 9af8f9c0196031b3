"""dvc.yaml against the code: deps cover what a stage imports, params match the models that read them."""

import re

import pytest
from ruamel.yaml import YAML

from tasks.common.model_names import MODELS
from tasks.common.params import Params
from tests.closure import ROOT, STAGES, expected_code, module_of, with_code


def test_sections_of_params_match_the_model_and_every_one_is_read() -> None:
    values = YAML(typ="safe").load(ROOT / "params.yaml")
    assert values.keys() == Params.model_fields.keys()
    read = {key.split(".")[0] for stage in STAGES.values() for key in stage["params"]}
    assert read == Params.model_fields.keys() - {"gate"}  # which is no stage


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_named_as_its_module_and_its_section(stage: str) -> None:
    module = module_of(stage).removeprefix("tasks.")
    stem, _, model = stage.rpartition("_")
    assert stage == (module.replace(".", "_") if model not in MODELS or "." in module else f"{module}_{model}")
    assert {stage, stem if model in MODELS else stage} & set(STAGES[stage]["params"])


def test_no_output_switches_the_run_cache_off_and_trainings_take_turns() -> None:
    """`persist` does, and so does an output out of the cache that is neither a metric nor a plot."""
    assert "persist" not in (ROOT / "dvc.yaml").read_text()
    assert all(isinstance(out, str) for stage in STAGES.values() for out in stage["outs"])
    computing = [stage for stage in STAGES if stage.startswith(("reference", "train"))]
    assert {STAGES[stage]["meta"]["resource"] for stage in computing} == {"device"}


EXPORT, EVALUATE, BUNDLE = ({f"{what}_{model}" for model in MODELS} for what in ("export", "evaluate", "bundle"))
# What a one-line edit runs again. Judging, shipping and reporting anew must train nothing.
RERUNS = {
    "tasks/evaluate/vae.py": EVALUATE,
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
    """Where they are not, `make deps` writes them."""
    declared = {dep for dep in STAGES[stage]["deps"] if dep.startswith(("tasks/", "models/"))}
    assert declared == expected_code(stage)


def test_make_deps_writes_what_is_missing_and_nothing_else() -> None:
    text = (ROOT / "dvc.yaml").read_text()
    assert with_code(text) == text
    assert with_code(re.sub(r"      - (tasks/export|models/gan)\.py\n", "", text)) == text
