"""Makes a data set of the names and sizes of images."""

import argparse
import json
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--in", dest="images", type=Path, required=True)
parser.add_argument("--out", type=Path, required=True)
arguments = parser.parse_args()
sizes = {image.name: image.stat().st_size for image in sorted(arguments.images.glob("*.jpg"))}
(arguments.out / "sizes.json").write_text(json.dumps(sizes))
