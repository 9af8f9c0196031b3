"""What a run is called in git and on disk."""

import re
from datetime import UTC, datetime

from prefect.runtime import flow_run


def run_name() -> str:
    """A name for branch and folder of the Prefect run that this is called in, as 2026-11-26-brisk-otter.

    A run that is tried again gets another.
    """
    words = re.sub(r"[^a-z0-9]+", "-", str(flow_run.name).lower()).strip("-")
    again = f"-{flow_run.run_count}" if (flow_run.run_count or 1) > 1 else ""
    return f"{datetime.now(UTC):%Y-%m-%d}-{words}{again}"
