import ast
from pathlib import Path

import resight


def test_all_names_exist_and_no_more():
    for name in resight.__all__:
        assert getattr(resight, name) is not None
    assert set(resight.__all__) == set(resight._HOMES)


def test_a_person_who_asks_sees_them():
    assert {name for name in dir(resight) if not name.startswith("__")} == set(resight.__all__)
    assert "__version__" in dir(resight)


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(resight.__file__).read_text())
    block = next(n for n in tree.body if isinstance(n, ast.If))
    names = {a.asname for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert names == set(resight.__all__)
