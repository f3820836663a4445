"""The baseline: what a common churn tutorial does, three models times five folds on the IBM table, one process.

python benchmarks/tutorial.py TABLE.csv
"""

import sys

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

table = pd.read_csv(sys.argv[1], na_values=[" "])
churned = (table["Churn"] == "Yes").astype(int)
inputs = table.drop(columns=["customerID", "Churn"])
numbers = inputs.select_dtypes("number").columns
models = {
    "logistic regression": LogisticRegression(max_iter=1000),
    "random forest": RandomForestClassifier(n_estimators=200, random_state=42),
    "gradient boosting": GradientBoostingClassifier(n_estimators=200, learning_rate=0.05, max_depth=5, random_state=42),
}
for name, model in models.items():
    encode = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore"), inputs.columns.difference(numbers)),
    )
    folds = StratifiedKFold(5, shuffle=True, random_state=42)
    scores = ["accuracy", "f1", "roc_auc", "precision", "recall"]
    found = cross_validate(make_pipeline(encode, model), inputs, churned, cv=folds, scoring=scores)
    print(f"{name}: ROC AUC {found['test_roc_auc'].mean():.4f}")
