"""`imagewright report`."""

from tasks.common.cli import run
from tasks.report.page import write_report

if __name__ == "__main__":
    run(write_report)
