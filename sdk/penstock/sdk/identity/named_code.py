"""The code of classes and functions that values name: what a step that is given an object runs without ever naming its class."""

import sys
from types import FunctionType

from penstock.contracts.encoding import digest_of
from penstock.sdk.identity.project import Project, belongs_to_project, module_source_file
from penstock.sdk.identity.reach import Reach


def code_digest(named: type | FunctionType) -> str | None:
    """The digest of all code of the project that a class or function can reach; None for those that are not the project's.

    An object's bytes that hold it differ when the code does, so whoever reads them runs again when only a method was edited.
    """
    module = sys.modules.get(named.__module__)
    if module is None or module_source_file(module) is None or not belongs_to_project(module):
        return None
    project = Project.of(module)
    reach = Reach(project)
    home = reach.module(project.module_name(module))
    if home is None:
        return None
    reach.add_name(home, (named.__qualname__.partition(".")[0],))
    return digest_of(sorted(reach.components().items()))
