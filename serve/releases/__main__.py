"""`python -m serve.releases`: see serve.releases.acts."""

from churn.script import run
from serve.releases.acts import main

if __name__ == "__main__":
    run(main, "serve.releases")
