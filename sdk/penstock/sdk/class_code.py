"""The code of a class: what a step that is given an object can run without ever naming the object's class."""

import sys

from penstock.contracts.encoding import digest_of
from penstock.sdk.project import Project, belongs_to_project, module_source_file
from penstock.sdk.reach import Reach


def class_digest(kind: type) -> str | None:
    """The digest of all code of the project that a class can reach; None for classes that are not the project's.

    An object's bytes that hold it differ when the class does, so whoever reads them runs again when only a method was edited.
    """
    module = sys.modules.get(kind.__module__)
    if module is None or module_source_file(module) is None or not belongs_to_project(module):
        return None
    project = Project.of(module)
    reach = Reach(project)
    home = reach.module(project.module_name(module))
    if home is None:
        return None
    reach.add_name(home, (kind.__qualname__.partition(".")[0],))
    return digest_of(sorted(reach.components().items()))
