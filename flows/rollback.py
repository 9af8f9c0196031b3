"""The flow `rollback`: makes an earlier release live again."""

from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from flows.core.git import check_identity
from flows.core.orchestration import run_log
from flows.release.commits import publish_refs, release_lock
from flows.release.registry import roll_back
from tasks.common.model_names import Model
from tasks.common.paths import work_folder


@flow(name="rollback")
def rollback(model: Model, version: Annotated[str, Field(pattern=r"^(v\d+\.\d+\.\d+)?$")] = "") -> State[Any]:
    """Makes an earlier version of a model live again.

    Nothing is trained and no data moves: a new `live` tag names the earlier version and is pushed to the git remote.
    Consumers who ask for the stage `live` then get that version. The replaced version stays registered; deprecate it if
    nobody should use it.

    Args:
        model: The model whose live version is replaced.
        version: The version to make live, for example v1.2.0. Empty: the version that was live before.
    """
    checkout, log = Path.cwd(), run_log("rollback")
    check_identity(checkout)
    with release_lock(work_folder(), log):
        now, before = roll_back(checkout, model, version or None)
        publish_refs(checkout, None, log)
    return Completed(name="Rolled back", message=f"{now} is live and replaces {before}")
