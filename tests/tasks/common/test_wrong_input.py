"""How a session handles inputs that the contract does not allow: a one-line error, or what the model card says."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tasks.common.errors import UserError
from tasks.evaluate.sampling import BrokenImageError, as_bytes
from tasks.export.session import run_onnx, session
from tests.conftest import ROOT
from tests.tasks.export.test_export import conditional_gan, gan
from tests.tasks.export.test_variants import LABELS, LENGTH, files, given

FILES = ("gan.onnx", "gan.float16.onnx", "gan.uint8.onnx", "gan.batch16.onnx")
FREE = FILES[:3]  # with a free batch size
NOISE, LABEL = given(16)
WRONG = {
    "a column too many": (np.zeros((16, LENGTH + 1), np.float32), LABEL),
    "no rows": (NOISE[0], LABEL),
    "a third axis": (NOISE[:, :, None], LABEL),
    "float64": (NOISE.astype(np.float64), LABEL),
    "float16": (NOISE.astype(np.float16), LABEL),
    "integers": (NOISE.astype(np.int64), LABEL),
    "labels of 32 bits": (NOISE, LABEL.astype(np.int32)),
    "one-hot labels": (NOISE, np.eye(LABELS, dtype=np.float32)[LABEL]),
    "a label too few": (NOISE, LABEL[:-1]),
    "one label for all": (NOISE, LABEL[:1]),
    "no labels": (NOISE,),
}
LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from tasks.common.errors import UserError
from tasks.export.session import run_onnx, session
running = session(Path(sys.argv[1]), 1)
noise, label = np.zeros((100_000, int(sys.argv[2])), np.float32), np.zeros(100_000, np.int64)
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 2**26, now + 2**26))
try:
    run_onnx(running, noise, label)
except UserError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return files(conditional_gan(), tmp_path_factory.mktemp("made"))


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_shape_or_type_is_a_one_line_error(made: dict[str, Path], file: str, wrong: str) -> None:
    with pytest.raises(UserError, match=r"^the model fails on .* inputs, at batch size \d+: .+") as caught:
        run_onnx(session(made[file], 1), *WRONG[wrong])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("label", [-1, -(2**63), LABELS, 2**31 - 1, 2**63 - 1])
def test_an_unknown_label_is_an_error(made: dict[str, Path], file: str, label: int) -> None:
    labels = LABEL.copy()
    labels[3] = label
    with pytest.raises(UserError, match=r"the model fails on .*(out of data bounds|invalid index)"):
        run_onnx(session(made[file], 1), NOISE, labels)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_noise_that_is_not_finite_corrupts_only_its_own_image(made: dict[str, Path], file: str, broken: float) -> None:
    running, noise = session(made[file], 1), NOISE.copy()
    noise[3] = broken
    [images], [wanted] = run_onnx(running, noise, LABEL), run_onnx(running, NOISE, LABEL)
    np.testing.assert_array_equal(np.delete(images, 3, axis=0), np.delete(wanted, 3, axis=0))
    if file == "gan.uint8.onnx":
        assert not images[3].any()  # black
    else:
        assert np.isnan(images[3]).all()
        with pytest.raises(BrokenImageError, match="1 of 16 images from the exported file hold NaN"):
            as_bytes(images)


@pytest.mark.parametrize("file", FREE)
def test_an_empty_batch_gives_no_images(made: dict[str, Path], file: str) -> None:
    [none], [some] = (run_onnx(session(made[file], 1), NOISE[:count], LABEL[:count]) for count in (0, 2))
    assert (none.shape, none.dtype) == ((0, *some.shape[1:]), some.dtype)


@pytest.mark.parametrize("count", [0, 1, 15])
def test_a_fixed_batch_size_rejects_every_other(made: dict[str, Path], count: int) -> None:
    with pytest.raises(UserError, match=rf"at batch size {count}: .* Got: {count} Expected: 16"):
        run_onnx(session(made["gan.batch16.onnx"], 1), NOISE[:count], LABEL[:count])


def test_a_batch_of_100_000_gives_the_images_of_small_batches(tmp_path: Path) -> None:
    running = session(files(gan(), tmp_path)["gan.uint8.onnx"], 1)
    noise, _ = given(100_000)
    [images] = run_onnx(running, noise)
    assert images.shape == (100_000, 28, 28, 1)
    for rows in ([0, 1], [50_000, 99_999]):
        [few] = run_onnx(running, noise[rows])
        assert np.abs(images[rows].astype(int) - few).max() <= 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")
def test_too_little_memory_is_a_one_line_error(made: dict[str, Path]) -> None:
    command = [sys.executable, "-c", LITTLE_MEMORY, str(made["gan.onnx"]), str(LENGTH)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the model fails on (100000, 6) and (100000,) inputs, at batch size 100000: ")
    assert done.stdout.count("\n") == 1
