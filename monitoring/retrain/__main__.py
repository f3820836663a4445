"""Train again on production's customers, and let the release that comes out prove itself.

`python -m monitoring.retrain` does it now; with `--if-needed` only where the policy says so (monitoring.retrain in
params.yaml), for cron jobs and alerts. Customers whose outcome is known join the table, the pipeline runs by `dvc exp
run` in a clone below .dvc/tmp, so that the working tree stays as it is, and the experiment becomes the branch
retrain/VERSION. Its release goes into the store and through the gate, and takes the part that the policy gives it.
What runs is the last commit: edits that are not committed are not in it.
"""

import argparse
import logging
import signal
import sys
from datetime import UTC, datetime

from churn.script import run
from monitoring.retrain.run import Busy, exclusive, retrain

log = logging.getLogger("monitoring.retrain")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m monitoring.retrain", description=__doc__)
    parser.add_argument("--if-needed", action="store_true", help="only where the policy asks for it")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that children are ended
    try:
        with exclusive() as lock:
            retrain(arguments.if_needed, datetime.now(UTC), lock)
    except Busy as error:
        if not arguments.if_needed:
            raise
        log.info("no retraining: %s", error)


if __name__ == "__main__":
    run(main, "monitoring.retrain")
