"""The flow `deprecate`: takes a release out of use."""

from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from flows.core.git import check_identity
from flows.core.orchestration import run_log
from flows.release import registry
from flows.release.commits import publish_refs, release_lock
from tasks.common.paths import work_folder

NonEmpty = Annotated[str, Field(min_length=1)]


@flow(name="deprecate")
def deprecate(release: NonEmpty, because: NonEmpty) -> State[Any]:
    """Marks a release as deprecated, so that no rollback chooses it and `gto show` omits it.

    The release must not be live; roll back first if it is. Its tag and its data stay, so that people who have it can
    still look up its lineage. The mark is a git tag, as gan@v1.0.0!, which is pushed to the git remote.

    Args:
        release: The release to deprecate, for example gan@v1.0.0.
        because: The reason; it becomes the message of the tag.
    """
    checkout, log = Path.cwd(), run_log("deprecate")
    check_identity(checkout)
    with release_lock(work_folder(), log):
        found = registry.find_release(checkout, release)
        registry.deprecate(checkout, found, because)
        publish_refs(checkout, None, log)
    return Completed(name="Deprecated", message=f"{found} is deprecated: {because}")
