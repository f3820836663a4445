"""The baseline of benchmarks.score: a Parquet file through mlflow.pyfunc on a pandas frame, in one process.

python -m benchmarks.obvious_files MODEL IN OUT
"""

import sys

import mlflow.pyfunc
import pandas as pd

folder, source, target = sys.argv[1:]
model = mlflow.pyfunc.load_model(folder)
customers = pd.read_parquet(source)
p = model.predict(customers.drop(columns="customer_id"))[:, 1]
pd.DataFrame({"customer_id": customers["customer_id"], "churn_probability": p}).to_parquet(target, index=False)
