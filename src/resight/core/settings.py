"""Typed settings: a frozen dataclass, changed by key=value, saved and read back as JSON."""

import dataclasses
import math
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from resight.core.errors import UsageError
from resight.core.registry import nearest

SYNONYMS = {
    "learning_rate": "lr", "learningrate": "lr", "rate": "lr", "eta": "lr", "base_lr": "lr", "lr0": "lr",
    "batch": "batch_size", "bs": "batch_size", "batchsize": "batch_size", "mini_batch": "batch_size",
    "wd": "weight_decay", "decay": "weight_decay", "l2": "weight_decay", "weightdecay": "weight_decay",
    "size": "image_size", "img_size": "image_size", "imgsz": "image_size", "resolution": "image_size",
    "input_size": "image_size", "num_epochs": "epochs", "n_epochs": "epochs", "max_epochs": "epochs",
    "pretrained": "weights", "checkpoint": "weights", "init": "weights", "arch": "model",
    "architecture": "model", "network": "model", "backbone": "model", "optim": "optimizer",
    "opt": "optimizer", "scheduler": "schedule", "lr_scheduler": "schedule", "smoothing": "label_smoothing",
    "augmentation": "augment", "augmentations": "augment", "transforms": "augment", "aug": "augment",
    "num_workers": "workers", "random_state": "seed", "validation_split": "val_share",
    "val_split": "val_share",
    "class_weight": "balance", "accumulate": "parts", "accumulation_steps": "parts", "amp": "precision",
    "warmup_epochs": "warmup", "warmup_steps": "warmup", "distillation": "teacher", "model_ema": "ema",
}  # fmt: skip
"""What other programs call a setting."""
EARLY_STOPPING = ("patience", "early_stopping", "early_stopping_patience", "early_stop")
"""Settings of other programs that have no counterpart here."""

Settings = TypeVar("Settings")
Other = TypeVar("Other")


def override(settings: Settings, words: Iterable[str]) -> Settings:
    """Return settings with `key=value` words applied, each value read by its field's type.

    Raises:
        UsageError: for an unknown key (with the nearest), a value of another type, or one that the
            settings themselves refuse.
    """
    return replace(settings, dict(pairs(words)))


def override_both(first: Settings, second: Other, words: Iterable[str]) -> tuple[Settings, Other]:
    """Return two kinds of settings with `key=value` words applied, each to the one that has its key.

    Raises:
        UsageError: as `override`.
    """
    changes = dict(pairs(words))
    _require_known(changes, {*_fields(first), *_fields(second)})
    mine, theirs = (
        {k: v for k, v in changes.items() if k in _fields(settings)} for settings in (first, second)
    )
    return replace(first, mine), replace(second, theirs)


def pairs(words: Iterable[str]) -> list[tuple[str, str]]:
    """Split `key=value` words.

    Raises:
        UsageError: for a word without "=".
    """
    found = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"--set {word!r} is not key=value")
        found.append((key.strip(), value.strip()))
    return found


def read_like(key: str, value: str, default: Any) -> Any:
    """Return text as a value of the default's type: bool, integer, number or text.

    Raises:
        UsageError: if it cannot be read as that type.
    """
    return _read(key, value, type(default))


def replace(settings: Settings, changes: dict[str, Any]) -> Settings:
    """Return settings with some fields changed; strings are read by the field's type.

    Raises:
        UsageError: as `override`.
    """
    hints = typing.get_type_hints(type(settings))
    _require_known(changes, _fields(settings))
    typed = {key: _read(key, value, hints[key]) for key, value in changes.items()}
    return dataclasses.replace(settings, **typed)  # type: ignore[type-var]


def from_dict(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Return the settings that `to_dict` wrote; what an older version did not write gets its default.

    Raises:
        UsageError: for an unknown key, a value of another type or out of range, or one that is missing.
    """
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    _require_known(values, known)
    hints = typing.get_type_hints(kind)
    try:
        return kind(**{key: _read(key, value, hints[key]) for key, value in values.items()})
    except TypeError as error:
        raise UsageError(f"a setting is missing or has the wrong type ({error})") from error


def differences(before: Any, after: Any, leave_out: Iterable[str] = ()) -> list[str]:
    """Return what differs between two settings, or two dictionaries of them, as "lr 0.1 -> 0.2".

    Args:
        before: the old ones.
        after: the new ones.
        leave_out: names to ignore.
    """
    old, new = (value if isinstance(value, Mapping) else to_dict(value) for value in (before, after))
    names = [name for name in {**old, **new} if name not in set(leave_out)]
    return [
        f"{name} {_shown(old.get(name))} -> {_shown(new.get(name))}"
        for name in names
        if _listed(old.get(name)) != _listed(new.get(name))
    ]


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "none"
    return "none" if value in ("", None) else str(value)


def _fields(settings: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(settings)}


def _require_known(changes: Iterable[str], fields: set[str]) -> None:
    for key in changes:
        if key not in fields:
            every = ", ".join(sorted(fields))
            if key.lower().replace("-", "_") in EARLY_STOPPING:
                raise UsageError(
                    f"unknown setting {key!r}; training never stops early, and the best epoch is kept"
                )
            if (meant := SYNONYMS.get(key.lower().replace("-", "_"))) in fields:
                raise UsageError(f"unknown setting {key!r}; here it is {meant}. All: {every}")
            close = nearest(key, fields)
            near = f"; nearest: {', '.join(close)}" if close else ""
            raise UsageError(f"unknown setting {key!r}{near}. All: {every}")


def require_choices(settings: Any, choices: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse settings whose values are not among the allowed ones.

    Args:
        settings: a dataclass.
        choices: the allowed values of each field.

    Raises:
        UsageError: naming the setting, its value and what is allowed.
    """
    for name, allowed in choices.items():
        if (value := getattr(settings, name)) not in allowed:
            raise UsageError(f"{name}={value!r} must be one of {', '.join(map(repr, allowed))}")


def as_words(settings: Any) -> list[str]:
    """Return the command-line arguments for these settings: --set key=value for each."""
    words = []
    for key, value in to_dict(settings).items():
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        words += ["--set", f"{key}={text}"]
    return words


def _read(key: str, value: Any, hint: Any) -> Any:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        items = [v for v in value.split(",") if v] if isinstance(value, str) else value
        return tuple(_read(key, item, parts[0]) for item in items)
    try:
        if hint is int and isinstance(value, str):
            return int(value)
        if hint is bool and isinstance(value, str):
            return {"true": True, "false": False}[value.lower()]
        if hint is float:
            if not math.isfinite(float(value)):
                raise ValueError
            return float(value)
    except (KeyError, ValueError):
        raise UsageError(f"{key}={value!r}: needs {_kind(hint)}") from None
    if not isinstance(value, hint):
        raise UsageError(f"{key}={value!r}: needs {_kind(hint)}")
    return value


def _kind(hint: Any) -> str:
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return kinds.get(hint, str(hint))


def to_dict(settings: Any) -> dict[str, Any]:
    """Return the settings as plain JSON types."""
    document = dataclasses.asdict(settings)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in document.items()}
