"""The flow `deprecate`: a version that nobody should use any more."""

from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from flows.core.git import check_identity
from flows.core.orchestration import log_to_run
from flows.release.commits import publish_refs, release_lock
from flows.release.registry import deprecate as take_back
from flows.release.registry import find_release
from tasks.common.paths import work_folder

Said = Annotated[str, Field(min_length=1)]


@flow(name="deprecate")
def deprecate(release: Said, because: Said) -> State[Any]:
    """Takes a version back that is not live: nothing rolls back to it, and `gto show` leaves it out.

    Its tag and its data stay, so that whoever has it can still say where it came from.

    Args:
        release: What is taken back, as gan@v1.0.0.
        because: What is wrong with it.
    """
    checkout, say = Path.cwd(), log_to_run("deprecate")
    check_identity(checkout)
    with release_lock(work_folder(), say):
        found = find_release(checkout, release)
        take_back(checkout, found, because)
        publish_refs(checkout, None, say)
    return Completed(name="Deprecated", message=f"{found} is deprecated: {because}")
