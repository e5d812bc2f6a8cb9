"""`penstock reject`: the other answer."""

from penstock.deploy.cli.commands.approve import rejection

app = rejection
