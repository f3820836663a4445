"""`python -m monitoring.check`: see monitoring.check.run."""

from churn.script import run
from monitoring.check.run import main

if __name__ == "__main__":
    run(main, "monitoring.check")
