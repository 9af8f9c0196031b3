"""What earlier retrainings came to, by the fingerprint of their inputs: the same inputs need no second run."""

from dataclasses import asdict, dataclass
from pathlib import Path

from flows.promotion import StateName
from tasks.files import read_json, write_json

FOLDER = "conclusions"


@dataclass(frozen=True)
class Conclusion:
    """How a run ended: the name of its state in Prefect, a sentence, and the branch that has its results."""

    name: StateName
    message: str
    run: str
    branch: str
    commit: str


def read_conclusion(work: Path, key: str) -> Conclusion | None:
    """What the last run with these inputs came to, or None."""
    file = work / FOLDER / f"{key}.json"
    return Conclusion(**read_json(file)) if file.is_file() else None


def write_conclusion(work: Path, key: str, conclusion: Conclusion) -> None:
    """Keeps it for the next run."""
    write_json(work / FOLDER / f"{key}.json", asdict(conclusion))
