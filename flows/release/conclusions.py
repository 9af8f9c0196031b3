"""What earlier retrainings came to, by the fingerprint of their inputs: the same inputs need no second run, as long as
what is live is what that run left live.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from flows.release.promote import StateName
from flows.release.registry import live
from tasks.common.files import write_json

FOLDER = "conclusions"

Live = dict[str, str | None]  # by model, the release that is live and its commit; None where none is


class Conclusion(BaseModel):
    """How a run ended: the name of its state in Prefect, a sentence, the branch with its results, and what it left
    live of the models that it was about.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: StateName
    message: str
    run: str
    branch: str
    commit: str
    live: Live


def live_now(checkout: Path, models: tuple[str, ...]) -> Live:
    """What is live of these models."""
    found = {model: live(checkout, model) for model in models}
    return {model: f"{release} {release.commit}" if release else None for model, release in found.items()}


def read_conclusion(work: Path, key: str, now: Live) -> Conclusion | None:
    """What the last run with these inputs came to; None where there was none, or where it left other versions live.

    A run's verdict rests on what was live. A file that is damaged, or of earlier code, which did not say what was
    left live, counts as none: the run that follows replaces it.
    """
    file = work / FOLDER / f"{key}.json"
    try:
        past = Conclusion.model_validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return past if past.live == now else None


def write_conclusion(work: Path, key: str, conclusion: Conclusion) -> None:
    """Keeps it for the next run."""
    write_json(work / FOLDER / f"{key}.json", conclusion.model_dump(mode="json"))
