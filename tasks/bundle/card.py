"""The model card: what a consumer reads first."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.export.provenance import trained_with_text
from tasks.metrics.registry import describe, format_metric, ordered

LICENCES = {"fashion-mnist": "mit", "digits": "cc-by-4.0"}  # as model hubs write them
SOURCES = {
    "fashion-mnist": "Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747), under the MIT licence",
    "digits": "Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998, UCI), under CC BY 4.0",
}
OWN = "a folder of the maker's own; the maker states their licence"


def model_card(
    model: str, contract: dict[str, Any], evaluated: dict[str, Any], manifest: dict[str, Any], pictures: list[str]
) -> str:
    """Returns Markdown with the front matter that model hubs read, from contract.json, the metrics and the manifest."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    generator = contract["models"][f"{model}.onnx"]
    card = environment.get_template("card.md.j2").render(
        model=model,
        generator=generator,
        given=generator["inputs"][0],
        maps_images=len(generator["inputs"][0]["shape"]) == 4,
        image=generator["outputs"][0]["shape"],
        files=sorted(contract["models"]),
        variants=[
            {**variant, "alike": f"{evaluated['variants'][file]['within_one']:.2%}"}
            for file, variant in sorted(contract["models"].items())
            if variant["variant"] != "float32"
        ],
        rows=_rows(evaluated),
        protocol=evaluated["protocol"],
        licence=LICENCES.get(manifest["source"], "other"),
        source=SOURCES.get(manifest["source"], OWN),
        counts={split: manifest["splits"][split]["count"] for split in ("train", "validation", "test")},
        labels=manifest["labels"],
        conditional=len(generator["inputs"]) > 1,
        trained_with=trained_with_text(generator.get("trained_with")),
        pictures=pictures,
    )
    return f"{card}\n"


def _rows(evaluated: dict[str, Any]) -> list[dict[str, str]]:
    metrics, floor = evaluated["metrics"], evaluated["floor"]
    return [
        {
            "name": name,
            "value": format_metric(metrics[name]),
            "floor": format_metric(floor.get(name)),
            "better": describe(name).better or "-",
            "meaning": describe(name).meaning,
        }
        for name in ordered(list(metrics))
    ]
