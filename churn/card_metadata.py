"""What Hugging Face's hub reads of a model card: the YAML in front of its text."""

from collections.abc import Mapping
from typing import Any

from churn.report_text import label

# a score of the card -> its id in Hugging Face's metadata
METRICS = {
    **{name: name for name in ("roc_auc", "average_precision", "f1", "precision", "recall", "accuracy")},
    "brier": "brier_score",
}


def metadata(card: Mapping[str, Any]) -> dict[str, Any]:
    """The YAML in front of a card on Hugging Face's hub; the licence only where somebody stated it."""
    read, test = card["data"], card["test"]
    measured = [
        {
            "type": kind,
            "value": test[name],
            "name": f"{label(name)}, 95 % interval {test[f'{name}_low']} to {test[f'{name}_high']}",
        }
        for name, kind in METRICS.items()
    ]
    result = {
        "task": {"type": "tabular-classification", "name": "Will this customer leave?"},
        "dataset": {"type": "tabular", "name": read["table"], "split": "test", "revision": read["sha256"]},
        "metrics": measured,
    }
    return {
        **({"license": card["license"]} if "license" in card else {}),
        "library_name": "onnx",
        "pipeline_tag": "tabular-classification",
        "tags": ["tabular-classification", "churn", "onnx", card["model"].replace("_", "-")],
        "metrics": list(METRICS.values()),
        "model-index": [{"name": f"churn {card['model_version']}", "results": [result]}],
    }
