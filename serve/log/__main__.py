"""`python -m serve.log`: see serve.log.writer."""

from churn.script import run
from serve.log.writer import main

if __name__ == "__main__":
    run(main, "serve.log")
