"""Makes an evaluator of the kind that params.yaml asks for: trained, of random weights, or pretrained."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

from models.learners.classifier import ClassifierLearner, TrainedKind, make_classifier
from tasks.common.errors import UserError
from tasks.common.files import replacing, write_json
from tasks.common.inputs import stage_inputs
from tasks.common.params import EvaluatorSettings, Params
from tasks.common.runtime import StopSignals, prepare
from tasks.preprocess.dataset import Prepared, open_prepared
from tasks.reference.evaluator import Evaluator, load_pretrained
from tasks.reference.protocol import REFERENCE, SECOND
from tasks.reference.validate import validate_evaluator
from tasks.train.loop import trained

Kind = Literal[TrainedKind, "random", "inception", "dinov2"]


@dataclass(frozen=True)
class _Stage:
    """A reference stage: its section of params.yaml, its output folder, and the checkpoint to resume, if any."""

    name: str
    settings: EvaluatorSettings
    folder: Path
    params: Params
    prepared: Prepared
    resume: Path | None


def make_first(params: Params, resume: Path | None = None) -> dict[str, object]:
    """Writes data/reference; returns facts for the receipt."""
    stage = _Stage("reference", params.reference, REFERENCE, params, open_prepared(), resume)
    return _make(stage, first_kind(params, bool(stage.prepared.manifest.labels)))


def make_second(params: Params, resume: Path | None = None) -> dict[str, object]:
    """Writes data/reference_second; returns facts for the receipt."""
    stage = _Stage("reference_second", params.reference_second, SECOND, params, open_prepared(), resume)
    return _make(stage, second_kind(params, bool(stage.prepared.manifest.labels)))


def first_kind(params: Params, labelled: bool) -> Kind:
    """Chooses the first evaluator; raises UserError for a classifier of images without labels."""
    asked = params.reference.network
    if asked == "auto":
        return "classifier" if labelled else "selfsupervised"
    if asked == "classifier" and not labelled:
        raise UserError("params.yaml: reference.network is classifier, but the data has no labels; set it to auto")
    return asked


def second_kind(params: Params, labelled: bool) -> Kind:
    """Chooses the second evaluator; raises UserError if it would be of the first one's kind."""
    first, asked = first_kind(params, labelled), params.reference_second.network
    if asked == "auto":
        return "random" if first == "selfsupervised" else "selfsupervised"
    if asked == first:
        raise UserError(f"params.yaml: reference_second.network is {first}, as the first evaluator is; set it to auto")
    return asked


def _make(stage: _Stage, kind: Kind) -> dict[str, object]:
    """Makes the evaluator and writes the stage's folder; raises UserError for `--resume` if nothing is trained."""
    print(f"{stage.name}: the evaluator is {kind}", flush=True)
    if kind == "classifier" or kind == "selfsupervised":
        return _train(stage, kind)
    if stage.resume:
        raise UserError(f"{stage.name} trains nothing where its network is {kind}; leave --resume out")
    device = prepare(stage.params).device
    match kind:
        case "random":
            evaluator = Evaluator(make_classifier(stage.settings, kind, stage.prepared.manifest.channels, 1), device)
        case "inception" | "dinov2":
            where = f"params.yaml: {stage.name}.weights"
            evaluator = Evaluator(load_pretrained(kind, stage.settings.weights, where), device)
        case _:
            assert_never(kind)
    with StopSignals() as stop:
        _write(stage, evaluator, stop, {})
    return {"kind": kind, "threads": stage.params.threads}


def _train(stage: _Stage, kind: TrainedKind) -> dict[str, object]:
    prepared, mode = stage.prepared, prepare(stage.params)
    learner = ClassifierLearner(stage.settings, kind, prepared.manifest.channels, len(prepared.manifest.labels), mode)
    inputs = stage_inputs(stage.name)
    with trained(stage.name, learner, prepared, inputs, stage.params, stage.resume) as training:
        accuracy = round(learner.accuracy(prepared.split("test")), 4)
        evaluator = Evaluator(learner.classifier, mode.device, training.steps.trained_with())
        _write(stage, evaluator, training.stop, {"accuracy": accuracy})
    return training.facts() | {"kind": kind}


def _write(stage: _Stage, evaluator: Evaluator, stop: StopSignals, accuracy: dict[str, float]) -> None:
    with replacing(stage.folder) as folder:
        folder.mkdir()
        evaluator.save(folder)
        report = validate_evaluator(evaluator, stage.prepared, folder, stop, accuracy)
        write_json(folder / "evaluator.json", report)
    print(f"evaluator: {report}", flush=True)
