"""What the engine has to complain about never stands among what the user's program prints."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import structlog
from penstock.deploy.embedded.client import connect

client = connect("home")
log = structlog.get_logger("penstock.test")
log.info("all.well")
try:
    secret = "s3cret"
    raise OSError("no luck")
except OSError:
    log.exception("went.wrong", where="here")
print("result")
client.close()
"""


def test_complaints_go_to_stderr_without_the_values_of_variables(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)

    finished = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=True)

    assert finished.stdout == "result\n"
    assert "went.wrong" in finished.stderr
    assert "OSError: no luck" in finished.stderr
    assert "all.well" not in finished.stderr
    assert "'s3cret'" not in finished.stderr
