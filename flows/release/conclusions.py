"""The conclusions of earlier retrainings, by the fingerprint of their inputs.

The same inputs need no second run, as long as the live versions are those that the earlier run left.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from flows.release.promote import StateName
from flows.release.registry import live
from tasks.common.files import write_json

FOLDER = "conclusions"

Live = dict[str, str | None]  # by model: the live release and its commit, None if there is none


class Conclusion(BaseModel):
    """How a run ended: its state's name and message in Prefect, the branch with its results, and what was live then."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: StateName
    message: str
    run: str
    branch: str
    commit: str
    live: Live


def live_now(checkout: Path, models: tuple[str, ...]) -> Live:
    """Returns the live releases of these models."""
    found = {model: live(checkout, model) for model in models}
    return {model: f"{release} {release.commit}" if release else None for model, release in found.items()}


def read_conclusion(work: Path, key: str, now: Live) -> Conclusion | None:
    """Returns the conclusion of the last run with these inputs; None if there is none or other versions are live now.

    The gate's decisions depend on what is live. A file that is damaged, or that earlier code wrote, counts as none: the
    run that follows replaces it.
    """
    file = work / FOLDER / f"{key}.json"
    try:
        past = Conclusion.model_validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return past if past.live == now else None


def write_conclusion(work: Path, key: str, conclusion: Conclusion) -> None:
    """Writes the conclusion for `read_conclusion`."""
    write_json(work / FOLDER / f"{key}.json", conclusion.model_dump(mode="json"))
