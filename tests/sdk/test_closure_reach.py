"""How a closure follows code: through imports, packages, classes, registries, and where it can't follow."""

import importlib
from functools import partial

import pytest

from penstock.contracts.errors import GraphError
from penstock.sdk.identity.closure import closure_of
from tests.sdk.counted_calls import calls_of
from tests.sdk.written_project import WrittenProject


def labels(project: WrittenProject, function: str, module: str = "pipeline") -> set[str]:
    """What a closure holds, but for statements and imports."""
    components = project.closure(function, module).identity.components
    return {label for label in components if not label.endswith(("(top level)", "(imports)"))}


def test_a_package_is_followed_through_what_it_passes_on(project: WrittenProject) -> None:
    project.write("pack/__init__.py", "from .inner import work as do\nfrom . import other\n")
    project.write("pack/inner.py", "def work():\n    return 1\n\ndef idle():\n    return 2\n")
    project.write("pack/other.py", "def work():\n    return 3\n")
    project.write(
        "pipeline.py", "import pack\nfrom pack import do\n\ndef one():\n    return do()\n\ndef two():\n    return pack.other.work()\n"
    )

    assert labels(project, "one") == {"pipeline.py::one", "pack/inner.py::work"}
    assert labels(project, "two") == {"pipeline.py::two", "pack/other.py::work"}


def test_another_thing_passed_on_under_the_same_name_changes_the_step(project: WrittenProject) -> None:
    project.write("pack/__init__.py", "from .inner import a as x, b as y\n")
    project.write("pack/inner.py", "def a():\n    return 1\n\ndef b():\n    return 2\n")
    project.write("pipeline.py", "from pack import x, y\n\ndef one():\n    return x() - y()\n")
    before = project.digest("one")

    project.replace("pack/__init__.py", "a as x, b as y", "a as y, b as x")

    assert project.digest("one") != before


def test_relative_imports_and_steps_inside_packages_are_followed(project: WrittenProject) -> None:
    project.write("pack/__init__.py", "")
    project.write("pack/steps/__init__.py", "")
    project.write("pack/steps/fit.py", "from . import shared\nfrom ..data import load\n\ndef fit():\n    return shared.used(load())\n")
    project.write("pack/steps/shared.py", "def used(x):\n    return x\n")
    project.write("pack/data.py", "def load():\n    return 1\n")

    closure = project.closure("fit", "pack.steps.fit")

    assert labels(project, "fit", "pack.steps.fit") == {"pack/steps/fit.py::fit", "pack/steps/shared.py::used", "pack/data.py::load"}
    assert set(closure.modules) == {"pack", "pack.steps", "pack.steps.fit", "pack.steps.shared", "pack.data"}


def test_folders_without_init_are_packages_too(project: WrittenProject) -> None:
    project.write("space/deep/tool.py", "def use():\n    return 1\n")
    imports = "import space.deep.tool\nfrom space.deep import tool as t\n"
    project.write("pipeline.py", f"{imports}\ndef one():\n    return space.deep.tool.use()\n\ndef two():\n    return t.use()\n")

    assert labels(project, "one") == {"pipeline.py::one", "space/deep/tool.py::use"}
    assert labels(project, "two") == {"pipeline.py::two", "space/deep/tool.py::use"}
    assert project.closure("one").imports == frozenset()


def test_modules_that_import_each_other_are_followed(project: WrittenProject) -> None:
    project.write("pipeline.py", "import other\n\ndef one(n):\n    return other.two(n)\n\ndef three(n):\n    return n\n")
    project.write("other.py", "import pipeline\n\ndef two(n):\n    return pipeline.three(n)\n")

    assert labels(project, "one") == {"pipeline.py::one", "other.py::two", "pipeline.py::three"}


def test_a_name_that_two_modules_import_from_each_other_does_no_harm(project: WrittenProject) -> None:
    project.write("pack/__init__.py", "from . import inner\nfrom .inner import inner as again\n")
    project.write("pack/inner.py", "import pack\n\ndef inner():\n    return pack.inner\n")
    project.write("pipeline.py", "from pack import again\n\ndef one():\n    return again()\n")

    assert "pack/inner.py (whole)" in labels(project, "one")


def test_names_of_star_imports_are_followed(project: WrittenProject) -> None:
    project.write("helpers.py", "from more import *\n\ndef near():\n    return far()\n\ndef idle():\n    return 1\n")
    project.write("more.py", "def far():\n    return 1\n")
    project.write("pipeline.py", "from helpers import *\n\ndef one():\n    return near(), len([])\n")

    assert labels(project, "one") == {"pipeline.py::one", "helpers.py::near", "more.py::far"}


def test_a_name_that_no_star_import_shows_widens_to_their_modules(project: WrittenProject) -> None:
    project.write("helpers.py", "globals()['made'] = 1\n\ndef idle():\n    return 1\n")
    project.write("pipeline.py", "from helpers import *\n\ndef one():\n    return made\n")

    assert "helpers.py (whole)" in labels(project, "one")


def test_imports_inside_functions_are_followed(project: WrittenProject) -> None:
    project.write("helpers.py", "def used():\n    return 1\n\ndef idle():\n    return 2\n")
    project.write(
        "pipeline.py",
        "def one():\n    from helpers import used as use\n    return use()\n\ndef two():\n    import helpers\n    return helpers.idle()\n",
    )

    assert labels(project, "one") == {"pipeline.py::one", "helpers.py::used"}
    assert labels(project, "two") == {"pipeline.py::two", "helpers.py::idle"}


def test_a_local_variable_is_no_use_of_the_function_of_its_name(project: WrittenProject) -> None:
    project.write(
        "pipeline.py",
        """
        def clean(): return 1
        def other(): return 1
        def third(): return 1
        def fourth(): return 1

        def one(other, items):
            clean = len(items)
            for third in items:
                pass
            return [fourth for fourth in items], clean, other, third
        """,
    )

    assert labels(project, "one") == {"pipeline.py::one"}


def test_a_field_named_as_a_step_is_no_use_of_that_step(project: WrittenProject) -> None:
    project.write(
        "pipeline.py",
        """
        from typing import NamedTuple

        class Splits(NamedTuple):
            train: int
            test: int = 1

        def train(): return 1
        def test(): return 1

        def split() -> Splits:
            return Splits(train=1, test=2)
        """,
    )

    assert labels(project, "split") == {"pipeline.py::split", "pipeline.py::Splits"}


def test_names_are_found_where_python_finds_them(project: WrittenProject) -> None:
    project.write(
        "pipeline.py",
        """
        import functools

        def default(): return 1
        def decorated(function): return function
        def in_comprehension(x): return x
        def in_lambda(x): return x
        def in_inner(x): return x
        def in_method(x): return x
        def in_global(x): return x
        def in_except(x): return x

        def one(items, value=default):
            global in_global
            in_global = in_global
            @decorated
            def inner():
                class Inner:
                    in_inner = in_inner
                    def method(self):
                        return in_method(self)
                return Inner
            try:
                return [in_comprehension(x) for x in items], lambda y: in_lambda(y)
            except ValueError as error:
                return in_except(error)
        """,
    )

    found = {label.partition("::")[2] for label in labels(project, "one")}

    assert found == {
        "one", "default", "decorated", "in_comprehension", "in_lambda", "in_inner", "in_method", "in_global", "in_except",
    }  # fmt: skip


def test_a_class_brings_its_methods_and_bases(project: WrittenProject) -> None:
    project.write(
        "models.py",
        "from bases import Base\n\nclass Model(Base):\n    def fit(self):\n        return work()\n\ndef work():\n    return 1\n",
    )
    project.write("bases.py", "class Base:\n    pass\n\nclass Other:\n    pass\n")
    project.write("pipeline.py", "import models\n\ndef one():\n    return models.Model().fit()\n")

    assert labels(project, "one") == {"pipeline.py::one", "models.py::Model", "models.py::work", "bases.py::Base"}


@pytest.mark.parametrize("annotation", ["Model", '"Model"', 'list["Model"]'])
def test_the_class_of_an_input_is_code_of_the_step(project: WrittenProject, annotation: str) -> None:
    project.write("models.py", "class Model:\n    def predict(self):\n        return 1\n")
    project.write(
        "pipeline.py",
        f"from typing import TYPE_CHECKING\nfrom models import Model\n\ndef one(model: {annotation}):\n    return model.predict()\n",
    )
    before = project.digest("one")

    project.replace("models.py", "return 1", "return 2")

    assert project.digest("one") != before


def test_classes_that_register_themselves_are_code_of_all_that_import_them(project: WrittenProject) -> None:
    project.write("bases.py", "KNOWN = {}\n\nclass Base:\n    def __init_subclass__(cls):\n        KNOWN[cls.__name__] = cls\n")
    project.write("models.py", "import bases\n\nclass Model(bases.Base):\n    rate = 1\n\nclass Plain:\n    rate = 1\n")
    project.write("pipeline.py", "import models\nfrom bases import KNOWN\n\ndef one(name):\n    return KNOWN[name]()\n")

    assert {"models.py::Model"} == {label for label in labels(project, "one") if label.startswith("models")}


def test_classes_that_are_found_as_subclasses_count(project: WrittenProject) -> None:
    project.write("bases.py", "class Base:\n    pass\n\ndef known():\n    return type(Base()).__subclasses__()\n")
    project.write("models.py", "import bases\n\nclass Model(bases.Base):\n    rate = 1\n\nclass Plain:\n    rate = 1\n")
    project.write("pipeline.py", "import models\nfrom bases import known\n\ndef one(name):\n    return known()\n")

    assert {"models.py::Model"} == {label for label in labels(project, "one") if label.startswith("models")}
    assert project.closure("one").notes == ("bases.py:5: __subclasses__ can reach any class, so all imported ones count",)


@pytest.mark.parametrize("text", ["models.Model", "models:Model"])
def test_a_class_that_is_named_in_text_counts(project: WrittenProject, text: str) -> None:
    project.write("models.py", "class Model:\n    pass\n\nclass Plain:\n    pass\n")
    project.write("pipeline.py", f"def one():\n    return {{'_target_': '{text}', 'file': 'models.csv', 'name': 'other.thing'}}\n")

    assert labels(project, "one") == {"pipeline.py::one", "models.py::Model"}


def test_what_an_unknown_decorator_takes_is_code_of_the_whole_module(project: WrittenProject) -> None:
    project.write("registry.py", "KNOWN = {}\n\ndef register(function):\n    KNOWN[function.__name__] = function\n    return function\n")
    project.write(
        "pipeline.py",
        "from registry import KNOWN, register\n\n@register\ndef known():\n    return 1\n\ndef one(name):\n    return KNOWN[name]()\n",
    )
    before = project.digest("one")

    project.replace("pipeline.py", "return 1", "return 2")

    assert project.digest("one") != before


def test_known_decorators_leave_a_definition_alone(project: WrittenProject) -> None:
    project.write(
        "pipeline.py",
        """
        import functools
        from dataclasses import dataclass
        from functools import lru_cache

        @functools.cache
        def slow(): return 1

        @lru_cache(maxsize=3)
        def idle(): return 1

        @dataclass(frozen=True)
        class Idle:
            x: int = 1

        def one(): return slow()
        """,
    )

    assert labels(project, "one") == {"pipeline.py::one", "pipeline.py::slow"}
    assert "pipeline.py (top level)" not in project.closure("one").identity.components


def test_objects_of_the_sdk_are_no_code_of_other_steps(project: WrittenProject) -> None:
    project.write(
        "pipeline.py",
        """
        from penstock.sdk import Directory, Output, Resources, step

        model = Output("model", Directory)
        BIG = Resources(memory="8GiB")

        @step(resources=BIG)
        def train(x: int) -> int:
            return x

        big_train = train.options(pool="gpu")

        @step
        def evaluate(x: int) -> int:
            return x + 1
        """,
    )
    before = project.digest("evaluate")

    project.replace("pipeline.py", "8GiB", "16GiB")
    project.replace("pipeline.py", "return x\n", "return -x\n")
    project.replace("pipeline.py", 'pool="gpu"', 'pool="cpu"')

    assert project.digest("evaluate") == before


@pytest.mark.parametrize(
    ("imports", "decorator"),
    [
        ("from penstock.sdk import step as task", "task"),
        ("from penstock.sdk import step", "step(pool='gpu')"),
        ("from penstock.sdk.steps import step", "step"),
        ("from penstock.sdk import *", "step"),
        ("import penstock.sdk as ps", "ps.step(retries=2)"),
        ("import penstock.sdk", "penstock.sdk.step"),
        ("from penstock import sdk", "sdk.step"),
        ("from penstock.sdk import step\ngpu_step = step(pool='gpu')", "gpu_step"),
        ("from penstock.sdk import step\nfrom functools import partial\ngpu_step = partial(step, pool='gpu')", "gpu_step()"),
    ],
)
def test_a_step_is_known_however_its_decorator_is_spelled(project: WrittenProject, imports: str, decorator: str) -> None:
    steps = f"@{decorator}\ndef one(x: int) -> int:\n    return x\n\n@{decorator}\ndef two(x: int) -> int:\n    return x\n"
    project.write("pipeline.py", f"{imports}\n\n{steps}")

    assert set(project.closure("one").identity.components) == {"pipeline.py::one"}


def test_a_step_called_when_the_module_is_imported_is_a_call_like_any_other(project: WrittenProject) -> None:
    project.write(
        "pipeline.py",
        """
        from penstock.sdk import step

        @step
        def first(x: int) -> int:
            return x

        first(3)

        def one():
            return 1
        """,
    )

    assert labels(project, "one") == {"pipeline.py::one", "pipeline.py::first"}


@pytest.mark.parametrize(
    ("body", "widened", "line"),
    [
        ("return globals()['idle']()", "pipeline.py", 6),
        ("return eval(name)", "pipeline.py", 6),
        ("return getattr(helpers, name)()", "helpers.py", 6),
        ("return helpers.__dict__[name]()", "helpers.py", 6),
        ("return sys.modules[name]", "pipeline.py", 6),
        ("return importlib.import_module(name)", "pipeline.py", 6),
        ("return importlib.import_module('helpers').idle()", "helpers.py", 6),
        ("return importlib.import_module(f'plugins.{name}')", "plugins/one.py", 6),
        ("return __import__('plugins.' + name)", "plugins/one.py", 6),
    ],
)
def test_what_cannot_be_followed_widens_to_a_module_and_says_where(project: WrittenProject, body: str, widened: str, line: int) -> None:
    project.write("helpers.py", "def idle():\n    return 1\n")
    project.write("plugins/__init__.py", "")
    project.write("plugins/one.py", "def idle():\n    return 1\n")
    project.write(
        "pipeline.py", f"import sys\nimport importlib\nimport helpers\n\ndef one(name):\n    {body}\n\ndef idle():\n    return 1\n"
    )
    before = project.closure("one")

    project.replace(widened, "return 1", "return 2")

    assert project.digest("one") != before.identity.digest
    (note,) = before.notes
    assert note.startswith(f"pipeline.py:{line}: ")
    assert note.endswith(f"so all of {widened} counts")


def test_an_attribute_asked_for_by_literal_text_is_followed(project: WrittenProject) -> None:
    project.write("helpers.py", "def used():\n    return 1\n\ndef idle():\n    return 1\n")
    project.write("pipeline.py", "import helpers\n\ndef one():\n    return getattr(helpers, 'used')()\n")

    assert labels(project, "one") == {"pipeline.py::one", "helpers.py::used"}


def test_a_module_that_answers_for_any_name_counts_whole(project: WrittenProject) -> None:
    project.write("lazy.py", "def __getattr__(name):\n    return idle\n\ndef idle():\n    return 1\n")
    project.write("pipeline.py", "import lazy\n\ndef one():\n    return lazy.anything()\n")

    assert "lazy.py (whole)" in labels(project, "one")


def test_a_module_imported_only_for_what_it_does_counts(project: WrittenProject) -> None:
    project.write("patches.py", "import helpers\nhelpers.LIMIT = 3\n")
    project.write("helpers.py", "LIMIT = 1\n\ndef used():\n    return LIMIT\n")
    project.write("pipeline.py", "import patches\nfrom helpers import used\n\ndef one():\n    return used()\n")
    before = project.digest("one")

    project.replace("patches.py", "LIMIT = 3", "LIMIT = 4")

    assert project.digest("one") != before


def test_a_function_chosen_when_the_module_is_imported_counts_in_all_its_forms(project: WrittenProject) -> None:
    project.write(
        "pipeline.py",
        """
        try:
            from fast import work
        except ImportError:
            def work(): return slow()

        def slow(): return 1

        def one(): return work()
        """,
    )
    before = project.closure("one")

    assert "pipeline.py::slow" in before.identity.components
    assert before.imports == {"fast"}


def test_methods_are_steps_with_their_class(project: WrittenProject) -> None:
    project.write(
        "pipeline.py", "class Trainer:\n    @staticmethod\n    def fit(x):\n        return x\n\n    def other(self):\n        return 1\n"
    )
    closure = project.closure("Trainer.fit")

    assert closure.function == "Trainer.fit"
    assert closure.identity.digest != project.digest("Trainer.other")


def test_async_steps_have_a_closure(project: WrittenProject) -> None:
    project.write("pipeline.py", "async def one():\n    return await two()\n\nasync def two():\n    return 1\n")

    assert labels(project, "one") == {"pipeline.py::one", "pipeline.py::two"}


def test_steps_of_a_factory_differ_by_what_they_hold(project: WrittenProject) -> None:
    project.write(
        "pipeline.py",
        """
        def make(depth, tool):
            def train(x):
                return tool(x) * depth
            return train

        def double(x): return x * 2
        def triple(x): return x * 3

        """,
    )
    source = (project.root / "pipeline.py").read_text()

    def digest(call: str) -> str:
        project.write("pipeline.py", f"{source}made = {call}\n")
        project.forget()
        return project.digest("made")

    assert digest("make(3, double)") != digest("make(4, double)")
    assert digest("make(3, double)") != digest("make(3, triple)")


def test_two_functions_of_one_factory_are_two(project: WrittenProject) -> None:
    project.write(
        "pipeline.py",
        """
        def make():
            def one(x): return x
            def two(x): return x + 1
            return one, two

        first, second = make()
        """,
    )

    assert project.digest("first") != project.digest("second")


def test_a_step_that_holds_on_to_an_object_is_told_to_take_a_parameter(project: WrittenProject) -> None:
    project.write(
        "pipeline.py", "def make(thing):\n    def train(x):\n        return thing, x\n    return train\n\nmade = make(object())\n"
    )

    with pytest.raises(GraphError, match=r"holds on to thing, a object.*pass it as a parameter"):
        project.closure("made")


def test_lambdas_are_steps_each_with_its_own_code(project: WrittenProject) -> None:
    project.write("pipeline.py", "one = lambda x: x\ntwo = lambda x: x + 1\n")

    assert project.digest("one") != project.digest("two")


def test_two_lambdas_on_one_line_are_told_to_have_names(project: WrittenProject) -> None:
    project.write("pipeline.py", "one, two = lambda x: x, lambda x: x + 1\n")

    with pytest.raises(GraphError, match=r"pipeline\.py:1: which lambda.*give it a name"):
        project.closure("one")


def test_what_is_no_function_of_python_is_refused() -> None:
    with pytest.raises(GraphError, match="not a function written in Python"):
        closure_of(len)


def test_a_module_that_is_not_python_is_named_with_its_line(project: WrittenProject) -> None:
    project.write("pipeline.py", "def one():\n    import broken\n    return broken.x\n")
    project.write("broken.py", "x = 1\ny = = 2\n")

    with pytest.raises(GraphError, match=r"broken\.py:2: invalid syntax"):
        project.closure("one")


def test_syntax_as_deep_as_python_takes_it_is_encoded(project: WrittenProject) -> None:
    terms = " + ".join(["1"] * 900)
    project.write("pipeline.py", f"X = {terms}\n\ndef one():\n    return X + {terms}\n")

    assert project.digest("one").startswith("sha256:")


def test_a_link_to_a_module_is_a_module_of_the_links_name(project: WrittenProject) -> None:
    project.write("versions/helpers_v2.py", "def used():\n    return 1\n")
    (project.root / "helpers.py").symlink_to(project.root / "versions/helpers_v2.py")
    project.write("pipeline.py", "from helpers import used\n\ndef one():\n    return used()\n")

    assert labels(project, "one") == {"pipeline.py::one", "helpers.py::used"}
    assert labels(project, "used", "helpers") == {"helpers.py::used"}


def test_what_python_warns_of_in_a_module_is_not_said_here(project: WrittenProject) -> None:
    project.write("helpers.py", "def used():\n    return '\\d'\n")
    project.write("pipeline.py", "def one():\n    import helpers\n    return helpers.used()\n")

    assert labels(project, "one") == {"pipeline.py::one", "helpers.py::used"}


def test_each_further_step_of_a_file_costs_a_fraction_of_the_first(project: WrittenProject) -> None:
    steps = "".join(f"def step_{n}(x):\n    return helper_{n}(x)\n\ndef helper_{n}(x):\n    return x + {n}\n\n" for n in range(20))
    project.write("pipeline.py", f"import json\nimport os\nimport numpy\n\n{steps}")
    project.forget()
    module = importlib.import_module("pipeline")

    first, *others = (calls_of(partial(closure_of, getattr(module, f"step_{n}"))) for n in range(20))

    assert max(others) < first / 3
