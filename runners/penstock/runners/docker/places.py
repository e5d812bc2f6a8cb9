"""Where everything of an attempt is inside of its container: the same for each, so that no path can be observed."""

from pathlib import PurePosixPath

INSIDE = PurePosixPath("/penstock")
BOX = INSIDE / "box"
"""All that can be written to."""
WORK = BOX / "work"
STAGING = BOX / "outputs"
INPUTS = INSIDE / "inputs"
BLOBS = INSIDE / "blobs"
SNAPSHOT = INSIDE / "snapshot"
CHECKPOINT = INSIDE / "checkpoint"
SOFTWARE = INSIDE / "software"
TALK = INSIDE / "talk"
