"""The artifacts of a finished run: the verdict in words, and pictures small enough for Prefect's database."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prefect import flow
from prefect.artifacts import Artifact

from flows.ui.artifacts import ModelSummary, publish_artifacts, verdicts_markdown
from tasks.common.image_grid import data_uri
from tasks.gate.record import GateRecord
from tasks.reference.protocol import Protocol

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

PROTOCOL = {name: "a" * 64 if field.annotation is str else 5 for name, field in Protocol.model_fields.items()}
EVALUATION = {"model": "gan", "metrics": {}, "protocol": PROTOCOL, "device": "cpu", "second": None, "memorises": False}
COMPARISON = {"kind": "ratio", "estimate": 1.6, "low": 1.42, "high": 1.81, "margin": 1.35, "verdict": "worse"}
REFUSED = GateRecord.model_validate(
    {
        "candidate": EVALUATION | {"bundle": "data/bundle/gan", "sha256": "a" * 64},
        "live": EVALUATION | {"bundle": "live/gan", "sha256": "b" * 64},
        "settings": {"confidence": 0.95},
        "decision": "refused",
        "reasons": ["regression: fd_relative is 1.42 to 1.81 times that of the live model; the whole interval lies"],
        "comparisons": {
            "fd_relative": COMPARISON,
            "coverage": COMPARISON | {"kind": "difference", "margin": -0.05, "estimate": 0.01, "verdict": "better"},
        },
        "override": None,
    }
)
BLESSED = GateRecord.model_validate(
    {
        "candidate": EVALUATION | {"bundle": "data/bundle/vae", "sha256": "a" * 64},
        "live": None,
        "decision": "blessed",
        "reasons": [],
        "comparisons": {},
        "override": None,
    }
)
RELEASED = ModelSummary(BLESSED, released="vae@v1.2.0")


def test_a_verdict_is_a_sentence_with_its_comparisons(tmp_path: Path) -> None:
    for name in ("candidate", "live"):
        Image.new("L", (40, 40), 90).save(tmp_path / f"{name}.png")
    page = verdicts_markdown({"gan": ModelSummary(REFUSED, pictures=tmp_path), "vae": RELEASED})
    assert page.startswith(
        "- **GAN** refused: the live model stays\n- **VAE** blessed, and released as `vae@v1.2.0`\n\n"
    )
    gan, vae = page.split("## VAE")
    assert "Reasons for the refusal:\n\n- regression: fd_relative is 1.42 to 1.81 times" in gan
    assert "| estimate | 95% interval | margin | verdict |" in gan
    assert "| Relative Fréchet distance, divided by the live model's | 1.60 | 1.42 to 1.81 | 1.35 | **worse** |" in gan
    assert "| Coverage, minus the live model's | 0.0100 | 1.42 to 1.81 | -0.0500 | better |" in gan
    assert "| Candidate | Live |\n| --- | --- |\n| ![Candidate](data:image/png;base64," in gan
    assert "with the limits of params.yaml alone, as no model is live, found no limit broken, and blessed" in vae


def test_a_person_who_overrides_a_refusal_is_named() -> None:
    page = verdicts_markdown({"gan": ModelSummary(REFUSED.overridden("Ada", "the live one is broken"))})
    assert page.startswith("- **GAN** refused by the gate, and a person overrode that")
    assert "Ada gave this reason for the override: the live one is broken" in page


def test_a_model_that_was_not_evaluated_is_not_said_to_lack_a_live_model() -> None:
    beside = {"candidate": {"bundle": "data/bundle/gan"}, "live": {"bundle": "live/gan"}, "comparisons": {}}
    page = verdicts_markdown({"gan": ModelSummary(GateRecord.model_validate(REFUSED.model_dump() | beside))})
    assert "no model is live" not in page
    alone = GateRecord.model_validate(REFUSED.model_dump() | beside | {"live": None})
    assert "no model is live" not in verdicts_markdown({"gan": ModelSummary(alone)})


def test_what_is_live_already_is_named() -> None:
    assert verdicts_markdown({"gan": ModelSummary(None, "gan@v1.0.0")}).startswith(
        "- **GAN** the same as gan@v1.0.0, which is live\n\n## GAN"
    )


@pytest.mark.usefixtures("server")
def test_a_run_shows_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "data/samples/gan").mkdir(parents=True)
    Image.new("L", (40, 40), 200).save(tmp_path / "data/samples/gan/grid.png")
    (tmp_path / "data/metrics").mkdir()
    (tmp_path / "data/metrics/gan.json").write_text(json.dumps({"distance": 12.5}))

    @flow
    def show() -> None:
        publish_artifacts(
            tmp_path, "http://127.0.0.1:1/report/index.html", {"gan": ModelSummary(REFUSED), "vae": RELEASED}
        )

    show()
    stored = {key: Artifact.get(key) for key in ("verdict", "samples", "metrics", "report")}
    data = {key: str(artifact.data) for key, artifact in stored.items() if artifact}
    assert stored["verdict"] and stored["verdict"].description == (
        "GAN refused: the live model stays; VAE blessed, and released as `vae@v1.2.0`"
    )
    assert data["verdict"] == verdicts_markdown(
        {"gan": ModelSummary(REFUSED), "vae": RELEASED}, "http://127.0.0.1:1/report/index.html"
    )
    assert "[The report of this run](http://127.0.0.1:1/report/index.html)" in data["verdict"]
    assert data["samples"].startswith("## GAN\n\n![gan](data:image/png;base64,")
    assert json.loads(data["metrics"]) == [{"metric": "distance", "gan": 12.5}]
    assert "(http://127.0.0.1:1/report/index.html)" in data["report"]


@pytest.mark.parametrize(("channels", "kind"), [(1, "png"), (3, "jpeg")])
def test_a_thumbnail_is_small_whatever_the_picture(tmp_path: Path, channels: int, kind: str) -> None:
    shape, path = (700, 900, channels), tmp_path / "picture.png"
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    pixels = noise if channels == 3 else np.repeat(np.repeat(noise[::32, ::32, 0], 32, 0), 32, 1)
    Image.fromarray(pixels).save(path)
    head, content = data_uri(path).split(",")
    assert head == f"data:image/{kind};base64"
    assert len(content) < 134_000
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        assert max(image.size) in (576, 432)
