"""Spark as an engine, as far as it needs no Spark: what is missing or wrong is said before anything begins."""

import re
import sys
from datetime import date

import pytest

from churn.script import InputError
from serve.score import __main__ as command
from serve.score import spark
from serve.score.job import Job
from serve.score.run import Engine
from tests.conftest import ROOT

# what Spark says, without most of the frames
OF_PYTHON = """An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 1.0 failed 1 times, most recent failure: Lost task 0.0 in stage 1.0 (TID 2) (192.0.2.2 executor driver): org.apache.spark.api.python.PythonException: [PYTHON_EXCEPTION] An exception was thrown from the Python worker: Traceback (most recent call last):
  File "pyspark.zip/pyspark/worker.py", line 4327, in invoke_udf
    run_process()
ZeroDivisionError: integer division or modulo by zero
 SQLSTATE: 38000
\tat org.apache.spark.api.python.PythonRunner$$anon$5.read(PythonRunner.scala:1642)
"""  # noqa: E501
OF_AN_EXECUTOR = """An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 3 in stage 0.0 failed 4 times, most recent failure: Lost task 3.3 in stage 0.0 (TID 9) (127.0.0.1 executor 4): ExecutorLostFailure (executor 4 exited) Reason: Command exited with code 137
Driver stacktrace:
\tat org.apache.spark.scheduler.DAGScheduler.failJobAndIndependentStages(DAGScheduler.scala:3122)
"""  # noqa: E501


def engine(*options: str) -> Engine:
    return command.engine_of(command.parser().parse_args(["in", "out", "--engine", "spark", *options]))


def test_without_pyspark_one_line_says_which_version_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py4j.protocol", None)
    with pytest.raises(InputError, match=f"^--engine spark needs .*: pip install pyspark=={spark.VERSION}$"):
        list(engine("--address", "local[2]")(dict, [], Job("a", None, 0.0, {}, date(2024, 1, 1), "out")))


def test_that_version_is_the_one_that_is_tested() -> None:
    pinned = (ROOT / ".ci/spark/requirements.txt").read_text()
    assert re.findall(r"^pyspark==(\S+)", pinned, re.MULTILINE) == [spark.VERSION]


@pytest.mark.parametrize("path", ["requirements.txt", "serve/requirements.txt"])
def test_neither_the_repository_nor_the_image_brings_pyspark(path: str) -> None:
    assert "pyspark" not in (ROOT / path).read_text()


@pytest.mark.parametrize(
    "address", ["spark://one:7077", "spark://one:7077,two:7077", "local", "local[*]", "local[2,4]"]
)
def test_an_address_is_a_master_or_this_machine(address: str) -> None:
    assert engine("--address", address)


@pytest.mark.parametrize("address", ["spark://one", "one:7077", "tcp://one:8786", "local[x]", "yarn", ""])
def test_any_other_address_is_refused_at_once(address: str) -> None:
    with pytest.raises(InputError, match=re.escape("--engine spark needs --address spark://HOST:PORT, or local[2]")):
        engine("--address", address)


def test_of_what_spark_says_one_line_remains() -> None:
    assert spark.reason(OF_PYTHON) == "ZeroDivisionError: integer division or modulo by zero"
    lost = "(127.0.0.1 executor 4): ExecutorLostFailure (executor 4 exited) Reason: Command exited with code 137"
    assert spark.reason(OF_AN_EXECUTOR) == f"Lost task 3.3 in stage 0.0 (TID 9) {lost}"
    assert spark.reason("") == "without a word"
