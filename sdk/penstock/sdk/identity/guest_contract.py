"""What user code can observe of Penstock itself: codecs, seeds, the working directory."""

GUEST_CONTRACT_VERSION = 1
"""Counts its changes. Not the package's version."""
