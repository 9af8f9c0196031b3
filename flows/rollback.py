"""The flow `rollback`: an earlier version is live again."""

from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from flows.core.git import check_identity
from flows.core.orchestration import log_to_run
from flows.release.commits import publish_refs, release_lock
from flows.release.registry import roll_back
from tasks.common.model_names import Model
from tasks.common.paths import work_folder

Version = Annotated[str, Field(pattern=r"^(v\d+\.\d+\.\d+)?$")]


@flow(name="rollback")
def rollback(model: Model, version: Version = "") -> State[Any]:
    """Makes an earlier version of a model live again. No data moves: consumers who ask for `live` get that version.

    Args:
        model: Whose live version is taken back.
        version: What is live then, as v1.2.0. Empty: what was before.
    """
    checkout, work, say = Path.cwd(), work_folder(), log_to_run("rollback")
    check_identity(checkout)
    with release_lock(work, say):
        now, before = roll_back(checkout, model, version or None)
        publish_refs(checkout, None, say)
    return Completed(name="Rolled back", message=f"{now} is live in the place of {before}")
