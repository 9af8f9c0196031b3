"""Whether the variants of an exported file draw what it draws: pixel by pixel, and as the first judge sees it."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort

from tasks.common.cli import Progress
from tasks.common.errors import UserError
from tasks.common.params import Params
from tasks.evaluate.sampling import Draw, Rows, Sampling, as_bytes, blocks
from tasks.evaluate.scores import relative_distance, rounded
from tasks.export.checks import read_model
from tasks.export.contract import read_contract
from tasks.export.session import run_in_batches, session
from tasks.preprocess.dataset import Prepared, Split
from tasks.reference.statistics import ReferenceStatistics

COMPARED = 2_000  # images, of the same noise through either file
ALIKE = 0.999  # least share of pixels at most one step of 255 from those of the float32 file
WORSE, WORSE_BY = 0.02, 1e-4  # most that the relative Frechet distance may grow, as a share and beside it
Sessions = Mapping[str, ort.InferenceSession]


def variant_metrics(
    folder: Path, drawing: Sampling, reference: ReferenceStatistics, prepared: Prepared, params: Params
) -> dict[str, dict[str, float]]:
    """What is said of each variant in the folder, by file; see `compare`.

    A generator's draw what `drawing` draws; those of an encoder and a decoder copy test images, the other half being
    the float32 file. Raises UserError where one draws something else.
    """
    paths = sorted(folder.glob("*.onnx"))
    sessions = {path.name: session(path, params.threads, reference.evaluator.device) for path in paths}
    of: dict[str, list[str]] = {}
    for path in paths:
        contract = read_contract(read_model(path)[0], path)
        of.setdefault(contract["of"], []).append(path.name)
    found: dict[str, dict[str, float]] = {}
    for file, files in of.items():
        if len(files) == 1:
            continue
        draws = {each: _draw(sessions, file, each, drawing, prepared.split("test")) for each in files}
        count = min(COMPARED, params.evaluate.n_images, len(prepared.split("test")))
        found |= compare(file, draws, reference, count)
    return found


def _draw(sessions: Sessions, file: str, variant: str, drawing: Sampling, test: Split) -> Draw:
    """How `variant` stands in for `file`."""
    if file == "encoder.onnx":
        return partial(_copies, sessions[variant], sessions["decoder.onnx"], test)
    if file == "decoder.onnx":
        return partial(_copies, sessions["encoder.onnx"], sessions[variant], test)
    return lambda rows: as_bytes(run_in_batches(sessions[variant], *drawing.given(rows))[0])


def _copies(encoder: ort.InferenceSession, decoder: ort.InferenceSession, test: Split, rows: Rows) -> np.ndarray:
    code = run_in_batches(encoder, test.gather(rows).astype(np.float32) / 255)[0]
    return as_bytes(run_in_batches(decoder, code)[0])


def compare(
    file: str, draws: Mapping[str, Draw], reference: ReferenceStatistics, count: int
) -> dict[str, dict[str, float]]:
    """By variant of `file`, which is among `draws` itself, of `count` images of the same noise or the same originals.

    The share of pixels at most one step of 255 away, the largest step, and the relative Frechet distance of either.
    Raises UserError where too many pixels are farther away, or the judge sees a difference.
    """
    variants = [each for each in draws if each != file]
    alike, steps = dict.fromkeys(variants, 0.0), dict.fromkeys(variants, 0)
    seen: dict[str, list[np.ndarray]] = {each: [] for each in draws}
    with Progress(count, f"comparing the variants of {file}") as shown:
        for rows in blocks(count):
            images = draws[file](rows)
            seen[file].append(reference.evaluator.features(images))
            for each in variants:
                others = draws[each](rows)
                apart = np.abs(others.astype(np.int16) - images)
                alike[each] += float((apart <= 1).mean()) * len(rows) / count
                steps[each] = max(steps[each], int(apart.max()))
                seen[each].append(_features(reference, others, apart, seen[file][-1]))
            shown.advance(len(rows))
    distances = {each: relative_distance(np.concatenate(parts), reference.real) for each, parts in seen.items()}
    for each in variants:
        require_alike(each, file, alike[each], distances[each], distances[file])
    return {
        each: rounded({"within_one": alike[each], "largest_step": steps[each], "fd_relative": distances[each]})
        | rounded({"fd_relative_float32": distances[file]})
        for each in variants
    }


def _features(reference: ReferenceStatistics, images: np.ndarray, apart: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Of images that are `apart` from others of `known` features; the judge looks at those alone that differ."""
    changed, features = apart.any(axis=(1, 2, 3)), known.copy()
    if changed.any():
        features[changed] = reference.evaluator.features(images[changed])
    return features


def require_alike(variant: str, file: str, alike: float, distance: float, original: float) -> None:
    """Raises UserError where a variant draws something else than its float32 file."""
    rest = "choose other variants in params.yaml, under `export`"
    if not alike >= ALIKE:
        raise UserError(
            f"{variant} draws other images than {file}: {alike:.2%} of pixels are within one step of 255, {ALIKE:.1%} "
            f"are required; {rest}"
        )
    if not distance <= original * (1 + WORSE) + WORSE_BY:
        raise UserError(
            f"{variant} draws worse images than {file}: fd_relative is {distance:.4g} instead of {original:.4g}, more "
            f"than {WORSE:.0%} above; {rest}"
        )
