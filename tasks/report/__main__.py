"""`imagewright report` writes report/index.html, a page about the last results, from the files under data/."""

import argparse

from tasks.common.cli import run
from tasks.report.page import write_report

if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    run(write_report)
