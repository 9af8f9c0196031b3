"""The HTTP example: the images of the seeds, its limits, and one sentence for whatever is wrong."""

import base64
import io
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.examples.bundles import DAMAGES, damaged
from tests.examples.consumer import bare, environment

Serve = Callable[..., httpx.Client]


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Starts the service on a bundle and gives a client of it; all end with the module."""
    started: list[subprocess.Popen[bytes]] = []

    def start(folder: Path, *options: object) -> httpx.Client:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = bare("http/service.py", folder, "--port", port, *options)
        started.append(subprocess.Popen(command, env=environment()))
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        return wait_for(client, started[-1])

    yield start
    for process in started:
        process.terminate()
        assert process.wait(30) in (0, -15)


def wait_for(client: httpx.Client, process: subprocess.Popen[bytes]) -> httpx.Client:
    """The client, once the service answers it."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client.get("/health").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return client
    raise AssertionError("the service did not start")


@pytest.fixture(scope="module")
def plain(serve: Serve, gan: Path) -> httpx.Client:
    """A service that takes no label."""
    return serve(gan, "--rate", 1e6)


@pytest.fixture(scope="module")
def telling(serve: Serve, told: Path) -> httpx.Client:
    """A service that takes labels."""
    return serve(told, "--rate", 1e6)


def pixels(png: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(png)), np.int16)


def decoded(answer: httpx.Response) -> list[np.ndarray[Any, Any]]:
    assert answer.status_code == 200, answer.text
    return [pixels(base64.b64decode(image)) for image in answer.json()["images"]]


def sentence(answer: httpx.Response, status: int = 422) -> str:
    """The only thing that a refusal says."""
    assert answer.status_code == status, answer.text
    [(key, value)] = answer.json().items()
    assert key == "detail" and "\n" not in value
    return str(value)


def test_an_image_is_the_same_alone_in_a_sheet_and_in_a_batch(plain: httpx.Client) -> None:
    alone = [pixels(plain.get("/image", params={"seed": seed}).content) for seed in (7, 8, 9)]
    assert alone[0].shape == (28, 28) and (alone[0] != alone[1]).any()
    sheet = pixels(plain.get("/grid", params={"seed": 7, "count": 3, "columns": 2}).content)
    batch = decoded(plain.post("/images", json={"seed": 7, "count": 3}))
    for place, image in enumerate(alone):
        top, left = place // 2 * 30, place % 2 * 30
        assert np.abs(sheet[top : top + 28, left : left + 28] - image).max() <= 1
        assert np.abs(batch[place] - image).max() <= 1


def test_noise_of_ones_own_gives_the_golden_images(telling: httpx.Client, told: Path) -> None:
    with np.load(told / "gan.golden.npz") as archive:
        noise, labels, images = (archive[name] for name in ("noise", "label", "image"))
    got = decoded(telling.post("/images", json={"noise": noise.tolist(), "labels": labels.tolist()}))
    assert np.abs(np.stack(got) - np.rint(images[:, 0] * 255)).max() <= 1


def test_labels_are_names_or_numbers(telling: httpx.Client) -> None:
    named, numbered, other = (telling.get("/image", params={"label": label}).content for label in ("coat", 1, "shoe"))
    assert named == numbered != other
    batch = decoded(telling.post("/images", json={"count": 2, "labels": ["coat", 2]}))
    assert np.abs(batch[0] - pixels(named)).max() <= 1
    assert telling.get("/model").json()["labels"] == ["bag", "coat", "shoe"]


def test_colour_images_come_in_colour(serve: Serve, vae: Path) -> None:
    client = serve(vae)
    assert pixels(client.get("/image").content).shape == (32, 32, 3)
    assert client.get("/model").json()["image_shape"] == [3, 32, 32]


def test_requests_at_once_each_get_their_own(plain: httpx.Client) -> None:
    def ask(seed: int) -> list[np.ndarray[Any, Any]]:
        return decoded(plain.post("/images", json={"seed": seed, "count": 1 + seed % 3}))

    alone = [pixels(plain.get("/image", params={"seed": seed}).content) for seed in range(42)]
    with ThreadPoolExecutor(16) as clients:
        together = list(clients.map(ask, range(40)))
    for seed, images in enumerate(together):
        assert len(images) == 1 + seed % 3
        assert np.abs(np.stack(images) - np.stack(alone[seed : seed + len(images)])).max() <= 1
    assert plain.get("/health").json() == {"status": "ok", "waiting": 0}


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("/grid?count=0", "count should be greater than or equal to 1"),
        ("/grid?count=100000", "count should be less than or equal to 256"),
        ("/grid?columns=0", "columns should be greater than or equal to 1"),
        ("/image?seed=-1", "seed should be greater than or equal to 0"),
        ("/image?seed=many", "seed should be a valid integer"),
        ("/image?label=3", "there is no label '3'; this model knows 0 bag, 1 coat, 2 shoe"),
        ("/image?label=cat", "there is no label 'cat'"),
    ],
)
def test_a_bad_query_is_a_sentence(telling: httpx.Client, path: str, complaint: str) -> None:
    assert complaint in sentence(telling.get(path))


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"noise": [[0.0] * 5]}, "every row of noise must hold 6 numbers, and there are 5"),
        ({"noise": [[0.0] * 6, [0.0] * 7]}, "must hold 6 numbers, and there are 6 and 7"),
        ({"noise": [0.0] * 6}, "noise.0 should be a valid list"),
        ({"noise": [["a"] * 6]}, "noise.0.0 should be a valid number"),
        ({"noise": []}, "noise: List should have at least 1 item"),
        ({"noise": [[0.0] * 6], "labels": [0], "seed": 3}, "give either noise, or seed and count"),
        ({"noise": [[0.0] * 5 + [1e300]], "labels": [0]}, "finite numbers alone"),
        ({"noise": [[0.0] * 6]}, "needs a label for every image"),
        ({"count": 0}, "count should be greater than or equal to 1"),
        ({"count": 100_000}, "count should be less than or equal to 256"),
        ({"count": 2, "labels": [0]}, "labels must be int64 with the shape [2]"),
        ({"labels": [-1]}, "there is no label -1"),
        ({"amount": 3}, "amount: Extra inputs are not permitted"),
        ([], "the body must be JSON, such as"),
    ],
)
def test_a_bad_body_is_a_sentence(telling: httpx.Client, body: Any, complaint: str) -> None:
    assert complaint in sentence(telling.post("/images", json=body))


def test_a_nan_and_a_broken_body_are_a_sentence(telling: httpx.Client) -> None:
    nan = json.dumps({"noise": [[float("nan")] * 6], "labels": [0]})
    kind = {"Content-Type": "application/json"}
    assert "finite numbers alone" in sentence(telling.post("/images", content=nan, headers=kind))
    assert "JSON decode error" in sentence(telling.post("/images", content="{", headers=kind))
    assert "application/json" in sentence(telling.post("/images", content=nan))


def test_a_label_for_a_model_that_takes_none_is_a_sentence(plain: httpx.Client) -> None:
    assert sentence(plain.get("/image?label=1")) == "this GAN takes no label; omit the label"
    assert plain.get("/model").json()["labels"] is None


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_long_is_refused(plain: httpx.Client, chunked: bool) -> None:
    body = b" " * (5 * 2**20)
    answer = plain.post("/images", content=iter([body]) if chunked else body)
    assert "longer than 4,194,304 bytes" in sentence(answer, 413)
    assert plain.get("/image").status_code == 200


def test_beyond_the_rate_a_client_is_told_when_to_come_back(serve: Serve, gan: Path) -> None:
    client = serve(gan, "--rate", 64)
    assert client.get("/grid?count=256").status_code == 200
    refused = client.get("/grid?count=128")
    wait = int(refused.headers["Retry-After"])
    assert sentence(refused, 429) == f"more than 64 images a second, 256 at once; try again in {wait} s"
    assert 1 <= wait <= 2
    time.sleep(wait)
    assert client.get("/grid?count=128").status_code == 200


def test_a_crowd_beyond_the_queue_is_turned_away_and_the_rest_served(serve: Serve, gan: Path) -> None:
    client = serve(gan, "--rate", 1e6)
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(client.post("/images", json={"count": 256}))

    crowd = [threading.Thread(target=ask) for _ in range(64)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert any(answer.status_code == 200 for answer in answers)
    for answer in answers:
        assert answer.status_code == 200 or answer.headers["Retry-After"] == "1"
    assert client.get("/health").json()["waiting"] == 0


def test_the_schema_describes_every_parameter_and_refusal(plain: httpx.Client) -> None:
    schema = plain.get("/openapi.json").json()
    assert set(schema["paths"]) == {"/image", "/grid", "/images", "/model", "/health"}
    for path in ("/image", "/grid"):
        operation = schema["paths"][path]["get"]
        assert all(parameter["description"] for parameter in operation["parameters"])
        assert list(operation["responses"]["200"]["content"]) == ["image/png"]
        assert set(operation["responses"]) == {"200", "413", "422", "429", "503"}
    for name in ("ImageRequest", "Pictures", "Model", "Health", "Problem"):
        fields = schema["components"]["schemas"][name]["properties"].values()
        assert all(field["description"] for field in fields), name


@pytest.mark.parametrize(("damage", "complaint"), DAMAGES)
def test_a_bad_bundle_is_not_served(gan: Path, tmp_path: Path, damage: str, complaint: str) -> None:
    command = bare("http/service.py", damaged(gan, tmp_path / "bad", damage))
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert complaint in line
