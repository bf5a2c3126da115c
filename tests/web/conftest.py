"""Served networks that tests share."""

import pytest

from serving import save_finder, serving


@pytest.fixture(scope="session")
def finder(tmp_path_factory):
    """The file of a network that finds red and blue."""
    return save_finder(tmp_path_factory.mktemp("finder") / "finder.safetensors")


@pytest.fixture(scope="module")
def client(finder):
    """A server of that network, with the command's limits."""
    with serving([finder]) as found:
        yield found
