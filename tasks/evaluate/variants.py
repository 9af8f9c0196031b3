"""A check that the variants of an exported file generate the same images, by their pixels and by their features."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort

from tasks.common.cli import Progress
from tasks.common.errors import UserError
from tasks.common.params import Params
from tasks.evaluate.sampling import ExportedGenerator, Generate, Rows, as_bytes, blocks
from tasks.evaluate.scores import relative_distance, rounded
from tasks.export.checks import read_model
from tasks.export.contract import read_contract
from tasks.export.session import run_in_batches, session
from tasks.preprocess.dataset import Prepared, Split
from tasks.reference.statistics import ReferenceStatistics

COMPARED = 2_000  # images, from the same noise
MIN_ALIKE = 0.999  # of pixels at most one step of 255 from those of the float32 file
MAX_INCREASE, MAX_INCREASE_BY = 0.02, 1e-4  # of the relative Fréchet distance: relative, plus absolute
Sessions = Mapping[str, ort.InferenceSession]


def variant_metrics(
    folder: Path, generator: ExportedGenerator, reference: ReferenceStatistics, prepared: Prepared, params: Params
) -> dict[str, dict[str, float]]:
    """Compares every variant in the folder with its float32 file; returns the results of `compare` by file name.

    Variants of a generator make the images of `generator`. Variants of an encoder or a decoder reconstruct test
    images, together with the float32 file of the other. Raises UserError if a variant differs.
    """
    paths, test = sorted(folder.glob("*.onnx")), prepared.split("test")
    sessions = {path.name: session(path, params.threads, reference.evaluator.device) for path in paths}
    variants: dict[str, list[str]] = {}
    for path in paths:
        variants.setdefault(read_contract(read_model(path)[0], path)["of"], []).append(path.name)
    found: dict[str, dict[str, float]] = {}
    for original, names in variants.items():
        if len(names) > 1:
            sources = {name: _source(sessions, original, name, generator, test) for name in names}
            found |= compare(original, sources, reference, min(COMPARED, params.evaluate.n_images, len(test)))
    return found


def _source(sessions: Sessions, original: str, variant: str, generator: ExportedGenerator, test: Split) -> Generate:
    """The function that makes images with `variant` in place of `original`."""
    if original == "encoder.onnx":
        return partial(_reconstruct, sessions[variant], sessions["decoder.onnx"], test)
    if original == "decoder.onnx":
        return partial(_reconstruct, sessions["encoder.onnx"], sessions[variant], test)
    return lambda rows: as_bytes(run_in_batches(sessions[variant], *generator.inputs(rows))[0])


def _reconstruct(encoder: ort.InferenceSession, decoder: ort.InferenceSession, test: Split, rows: Rows) -> np.ndarray:
    code = run_in_batches(encoder, test.gather(rows).astype(np.float32) / 255)[0]
    return as_bytes(run_in_batches(decoder, code)[0])


def compare(
    original: str, sources: Mapping[str, Generate], reference: ReferenceStatistics, count: int
) -> dict[str, dict[str, float]]:
    """Compares the images 0 to count - 1 of every variant in `sources` with those of `original`, also in `sources`.

    Returns, by variant, the share of pixels at most one step of 255 away, the largest step, and the relative Fréchet
    distances of both. Raises UserError if one of them is too far off.
    """
    variants = [name for name in sources if name != original]
    alike, steps = dict.fromkeys(variants, 0.0), dict.fromkeys(variants, 0)
    features: dict[str, list[np.ndarray]] = {name: [] for name in sources}
    with Progress(count, f"comparing the variants of {original}") as progress:
        for rows in blocks(count):
            images = sources[original](rows)
            features[original].append(reference.evaluator.features(images))
            for name in variants:
                others = sources[name](rows)
                difference = np.abs(others.astype(np.int16) - images)
                alike[name] += float((difference <= 1).mean()) * len(rows) / count
                steps[name] = max(steps[name], int(difference.max()))
                features[name].append(_update_features(features[original][-1], reference, others, difference))
            progress.advance(len(rows))
    distances = {name: relative_distance(np.concatenate(parts), reference.real) for name, parts in features.items()}
    found = {}
    for name in variants:
        require_alike(name, original, alike[name], distances[name], distances[original])
        metrics = {"within_one": alike[name], "largest_step": steps[name], "fd_relative": distances[name]}
        found[name] = rounded(metrics | {"fd_relative_float32": distances[original]})
    return found


def _update_features(
    features: np.ndarray, reference: ReferenceStatistics, images: np.ndarray, difference: np.ndarray
) -> np.ndarray:
    """Features of `images`: copies of those of the original images, extracted again where a pixel differs."""
    changed, updated = difference.any(axis=(1, 2, 3)), features.copy()
    if changed.any():
        updated[changed] = reference.evaluator.features(images[changed])
    return updated


def require_alike(variant: str, original: str, alike: float, distance: float, original_distance: float) -> None:
    """Raises UserError if too many pixels of a variant differ or its relative Fréchet distance is too large."""
    advice = "choose other variants in params.yaml, under `export`"
    if not alike >= MIN_ALIKE:
        raise UserError(
            f"{variant} generates other images than {original}: {alike:.2%} of pixels are within one step of 255, "
            f"{MIN_ALIKE:.1%} are required; {advice}"
        )
    if not distance <= original_distance * (1 + MAX_INCREASE) + MAX_INCREASE_BY:
        raise UserError(
            f"{variant} generates worse images than {original}: fd_relative is {distance:.4g} instead of "
            f"{original_distance:.4g}, more than {MAX_INCREASE:.0%} above; {advice}"
        )
