"""Following a run that goes on without whoever follows it: Ctrl-C leaves, and the run is none the worse for it."""

import sys

from penstock.contracts.views import RunView
from penstock.deploy.cli.asked import Asked
from penstock.deploy.cli.exits import ExitCode
from penstock.deploy.cli.following import display_for
from penstock.deploy.cli.run_execution import RunRequest, conclude
from penstock.sdk.client import EngineClient


def how_to_follow(view: RunView) -> str:
    """The command that follows a run."""
    return f"penstock runs follow {view.name}"


def follow_detached(client: EngineClient, view: RunView, request: RunRequest) -> ExitCode:
    """Shows the run to its end, says how it ended and gives its exit code; 130 where Ctrl-C ended the following."""
    display = display_for(request.as_json)
    asked = Asked()
    try:
        for latest in client.follow(view.run_id):
            view = latest
            display.update(view)
            for line in asked.lines(view):
                display.note(line)
    except KeyboardInterrupt:
        display.close()
        sys.stderr.write(f"\n{view.name} goes on; follow it with: {how_to_follow(view)}\n")
        return ExitCode.INTERRUPTED
    display.close()
    return conclude(client, view, request, False)
