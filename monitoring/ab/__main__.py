"""`python -m monitoring.ab`: see monitoring.ab.experiment."""

from churn.script import run
from monitoring.ab.experiment import main

if __name__ == "__main__":
    run(main, "monitoring.ab")
