"""`python -m monitoring.retrain`: see monitoring.retrain.run."""

from churn.script import run
from monitoring.retrain.run import main

if __name__ == "__main__":
    run(main, "monitoring.retrain")
