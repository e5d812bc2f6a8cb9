"""Trains a model that predicts the mean size."""

import argparse
import json
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--data", type=Path, required=True)
parser.add_argument("--epochs", type=int, required=True)
parser.add_argument("--amp", required=True)
parser.add_argument("--run-name", required=True)
parser.add_argument("--model-dir", type=Path, required=True)
parser.add_argument("--metrics", type=Path, required=True)
arguments = parser.parse_args()
sizes = json.loads((arguments.data / "sizes.json").read_text())
mean = sum(sizes.values()) / len(sizes)
(arguments.model_dir / "model.json").write_text(json.dumps({"mean": mean}))
arguments.metrics.write_text(json.dumps({"run": arguments.run_name, "epochs": arguments.epochs, "mean": mean}))
