"""Answers as people read them, or as JSON."""

import csv
import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from resight.core.errors import UsageError
from resight.core.text import printable, printable_json


def whole_numbers(words: str, option: str) -> tuple[int, ...]:
    """Read a list of whole numbers with commas.

    Raises:
        UsageError: if a word is none.
    """
    try:
        return tuple(int(w) for w in words.split(",") if w.strip())
    except ValueError:
        raise UsageError(f"{option} {words!r}: give whole numbers with commas") from None


def names(words: str, option: str) -> list[str]:
    """Read a list of names with commas.

    Raises:
        UsageError: if one is empty.
    """
    found = [word.strip() for word in words.split(",")]
    if not all(found):
        raise UsageError(f"{option} {words!r}: give names with commas")
    return found


def form(word: str, allowed: tuple[str, ...]) -> str:
    """Return the output format.

    Raises:
        UsageError: if there is no such format.
    """
    if word not in allowed:
        raise UsageError(f"--format {word!r} is none of {', '.join(allowed)}")
    return word


def document(answer: Any) -> None:
    """Print one JSON document."""
    typer.echo(printable_json(json.dumps(answer, ensure_ascii=False)))


def table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table; as wide as its content where the output is not a terminal."""
    console = Console(soft_wrap=not sys.stdout.isatty(), emoji=False, markup=False)  # names are no markup
    if not console.is_terminal:
        console.width = 10_000
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for number, column in enumerate(columns):
        grid.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        grid.add_row(*(printable(str(cell)) for cell in row))
    console.print(grid, highlight=False, markup=False)


def say(line: str, *, err: bool = False) -> None:
    """Print a line; control characters, which names of files and classes may hold, become escapes."""
    typer.echo(printable(line), err=err)


def one(name: str, value: str, *, as_json: bool) -> None:
    """Print a single value."""
    if as_json:
        document({name: value})
    else:
        say(value)


def progress(line: str) -> None:
    """Print a line of progress, to standard error."""
    say(line, err=True)


def trained(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print the end of a training."""
    if as_json:
        document({k: v for k, v in answer.items() if k != "summary"})
        return
    say(answer["summary"])
    say(f"run     {answer['run']}")
    say(f"report  {answer['report']}")


def tested(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print test figures."""
    if as_json:
        document(answer)
        return
    low, high = answer["top1_interval"]
    protocol = answer["views"] + (f" at {answer['scales']}" if answer["scales"] else "")
    several = answer["multi_label"]
    rows = _of_several(answer) if several else []
    rows += [
        ("one-error" if several else "top-1 error", f"{answer['top1_error']:.2f} %"),
        ("95 % interval", f"{low:.2f} to {high:.2f} %"),
        ("top-5 error", "-" if answer["top5_error"] is None else f"{answer['top5_error']:.2f} %"),
        ("calibration error", f"{100 * answer['ece']:.2f} %"),
        ("pictures", f"{answer['n']:,}"),
        ("views", protocol),
    ]
    rows += _learned(answer)
    table((f"{answer['data']} {answer['split']}", ""), rows)
    worst = sorted(
        ((name, c) for name, c in answer["per_class"].items() if c["n"]),
        key=lambda item: -item[1]["error"] if not several else item[1]["average_precision"],
    )
    table(
        ("class", "pictures", "error %", "precision", "recall", *(("AP %",) if several else ())),
        [
            (
                n,
                c["n"],
                f"{c['error']:.1f}",
                "-" if c["precision"] is None else f"{c['precision']:.3f}",
                f"{c['recall']:.3f}",
                *((f"{c['average_precision']:.1f}",) if several else ()),
            )
            for n, c in worst[:20]
        ],
    )
    if len(worst) > 20:
        say(f"and {len(worst) - 20} better classes; all with --json")
    for note in answer["notes"]:
        say(f"note: {note}", err=True)
    for fault in answer["skipped"]:
        say(f"left out: {fault['path']}: {fault['fault']}; {fault['cure']}", err=True)


def _learned(answer: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the rows about pictures that the run learned, if the test has some."""
    if not answer["trained_on"]:
        return []
    rows = [("learned before", f"{answer['trained_on']:,}")]
    if others := answer["others"]:
        low, high = others["top1_interval"]
        rows.append(("error on the others", f"{others['top1_error']:.2f} % ({low:.2f} to {high:.2f})"))
    return rows


def _of_several(answer: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the rows of figures that only pictures of several classes have."""
    if answer["map"] is None:
        return []
    low, high = answer["map_interval"]
    return [
        ("mean average precision", f"{answer['map']:.2f} %"),
        ("95 % interval", f"{low:.2f} to {high:.2f} %"),
        ("F1, all answers", f"{answer['f1_micro'] or 0:.3f}"),
        ("F1, mean of classes", f"{answer['f1_macro'] or 0:.3f}"),
        ("any class wrong", f"{answer['subset_error']:.2f} %"),
    ]


def predicted(rows: Iterable[dict[str, Any]], form: str) -> int:
    """Print predictions; returns the exit code: 1 if no picture could be read."""
    answered = 0
    faults = 0
    collected = []
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if form == "csv":
        writer.writerow(("path", "label", "probability", "error"))
    for row in rows:
        answered += "label" in row
        faults += "error" in row
        if form == "json":
            collected.append(row)
        elif form == "csv":
            writer.writerow(
                (
                    row["path"],
                    ";".join(row["labels"]) if "labels" in row else row.get("label", ""),
                    row.get("probability", ""),
                    row.get("error", ""),
                )
            )
        elif "error" in row:
            say(f"{row['path']}: {row['error']}", err=True)
        else:
            best = ", ".join(f"{label} {100 * p:.1f} %" for label, p in row["top"])
            say(f"{row['path']}  {best}")
    if form == "json":
        document(collected)
    if faults:
        say(f"{faults} of {answered + faults} files could not be read", err=True)
    return 0 if answered else 1


def explained(rows: list[dict[str, Any]], *, as_json: bool) -> int:
    """Print where the overlays are; returns the exit code: 1 if no picture could be read."""
    good = [row for row in rows if "error" not in row]
    if as_json:
        document(rows)
    else:
        for row in rows:
            if "error" in row:
                say(f"{row['path']}: {row['error']}", err=True)
            else:
                how = f"{row['method']} at {row['layer']}"
                if "residual" in row:
                    how += f"  residual {row['residual']:.3f} (percentile {row['residual_percentile']:.0f})"
                say(f"{row['image']}  {row['target']}  score {row['score']:.2f}  {how}")
    return 0 if good else 1


def sheets(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print where the comparison sheets are."""
    if as_json:
        document(answer)
        return
    for sheet in answer["sheets"]:
        say(f"{sheet['image']}  {len(sheet['rows'])} rows, {len(sheet['methods'])} methods")
    for fault in answer["skipped"]:
        say(f"left out: {fault['path']}: {fault['fault']}; {fault['cure']}", err=True)


def located(answer: dict[str, Any], *, as_json: bool) -> int:
    """Print boxes, or how good they are where boxes are known; returns the exit code: 1 without a picture."""
    if as_json:
        from resight.service.locate.locate import document as of

        document(of(answer))
    elif answer["metrics"]:
        table(
            ("method", "GT-known %", "top-1 %", "top-5 %", "five boxes %", "MaxBoxAcc", "at", "V2", "PxAP",
             "pointing", "energy"),
            [
                (
                    name,
                    *(error(f, k) for k in ("gt_known", "top1", "top5", "five_boxes")),
                    f"{f['max_box_acc']:.1f}",
                    f"{f['max_box_acc_threshold']:.2f}",
                    *(f"{f[k]:.1f}" for k in ("max_box_acc_v2", "pixel_average_precision", "pointing_game",
                                              "energy_pointing_game")),
                )
                for name, f in answer["metrics"].items()
            ],
        )  # fmt: skip
        n = next(iter(answer["metrics"].values()))["n"]
        say(
            f"{answer['how']}; n = {n}. The columns with a % are errors with 95 % intervals, the others "
            "accuracies in percent; MaxBoxAcc (at its best threshold), V2 and PxAP are of maps scaled "
            "by minimum and maximum"
        )
        for line in paired_lines(answer["metrics"]):
            say(line)
    else:
        for box in answer["boxes"]:
            place = " ".join(f"{v:g}" for v in box["box"])
            true = " (true class)" if box["class_is"] == "true" else ""
            say(f"{box['path']}  {box['label']}{true} {100 * box['score']:.1f} %  {place}")
        say(f"{answer['how']}; x y width height in pixels", err=True)
    for where in ("out", "drawn"):
        if answer[where]:
            say(f"{'written' if where == 'out' else where}   {answer[where]}", err=True)
    for name, why in answer["left_out"].items():
        say(f"left out: {name}: {why}", err=True)
    for fault in answer["errors"]:
        say(f"{fault['path']}: {fault['error']}", err=True)
    for note in answer["notes"]:
        say(f"note: {note}", err=True)
    return 0 if answer["pictures"] else 1


def paired_lines(metrics: dict[str, Any]) -> list[str]:
    """Return how each method compares with the spot in the middle on the same pictures."""
    return [
        f"{name} against a spot in the middle, GT-known: finds {found['only_this']} that the spot misses, "
        f"misses {found['only_other']} that it finds (p = {found['p']:.2g}, McNemar's exact test)"
        for name, figures in metrics.items()
        if (found := figures.get("paired", {}).get("gt_known"))
    ]


def error(figures: dict[str, Any], name: str) -> str:
    """Return an error with its interval in words."""
    low, high = figures[f"{name}_interval"]
    return f"{figures[f'{name}_error']:.1f} ({low:.0f}-{high:.0f})"


def decoded(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print how well a decoder inverts its network, and what its residual says about wrong answers."""
    if as_json:
        document(answer)
        return
    say(f"decoder    {answer['decoder']}, epoch {answer['epochs']} of {answer['settings']['epochs']}")
    for name in ("validation", "test"):
        if (figures := answer.get(name)) is None:
            continue
        area = "-, too few wrong or right answers"
        if figures["auc"] is not None:
            low, high = figures["auc_interval"]
            area = f"{figures['auc']:.3f} (95 % interval {low:.3f} to {high:.3f})"
            area += f"; of 1 - softmax {figures['auc_doubt']:.3f}"
        say(
            f"{name:11}PSNR {figures['psnr']:.2f} dB, SSIM {figures['ssim']:.3f}, "
            f"DSIM {figures['dsim']:.3f}, n = {figures['n']:,}"
        )
        say(f"{'':11}AUC of the residual for wrong answers: {area}")
    for note in answer["notes"]:
        say(f"note: {note}", err=True)


def gan_trained(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print where a GAN and its last samples are, and what its judge says of it."""
    if as_json:
        document(answer)
        return
    say(f"gan      {answer['gan']}, epoch {int(answer['last']['epoch'])}")
    say(f"samples  {answer['samples']}")
    if score := answer["score"]:
        say(
            f"score    Frechet distance {score['frechet']:.4g} in {score['features']}'s features, n = "
            f"{score['n']:,}; {score['frechet_floor']:.4g} between as many real pictures (not comparable "
            "with published FID)"
        )
        say(
            f"         {score['features']} names {score['right']:.1f} % of the drawn pictures as they were "
            f"asked for, {score['right_real']:.1f} % of the real ones"
        )


def believed(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print what an evaluation of saliency maps found: a row a figure, the best first, then the warnings."""
    if as_json:
        document(answer)
        return
    faithful = [r for r in answer["rows"] if r["randomized"] is None]
    lines = []
    for measure in dict.fromkeys(r["measure"] for r in faithful):
        of = [r for r in faithful if r["measure"] == measure]
        of.sort(key=lambda r: r["value"], reverse=of[0]["better"] == "high")
        digits = 1 if "percent" in of[0]["protocol"] else 3
        for r in of:
            low, high = r["interval"] or (r["value"], r["value"])
            lines.append(
                (
                    f"{measure.replace('_', ' ')}, {r['better']} is better" if r is of[0] else "",
                    r["method"],
                    f"{r['value']:.{digits}f}",
                    f"{low:.{digits}f} to {high:.{digits}f}" if r["interval"] else "-",
                    r["against_random"] or "-",
                    r["against_centre"] or "-",
                )
            )
    table(("measure", "map", "mean", "95 % interval", "better than random", "than centre"), lines)
    sane = [r for r in answer["rows"] if r["measure"] == "spearman"]
    depths = dict.fromkeys(r["randomized"] for r in sane)
    cells = {(r["method"], r["randomized"]): r["value"] for r in sane}
    say("")
    table(
        ("|rank correlation|, random:", *("(other picture)" if d == "chance" else d for d in depths)),
        [
            (m, *("-" if (v := cells.get((m, d))) is None else f"{v:.2f}" for d in depths))
            for m in answer["methods"]
        ],
    )
    say(f"{answer['n']} pictures; layer {answer['layer']}; protocols and p values with --json")
    for warning in answer["warnings"]:
        say(f"warning: {warning}", err=True)
    for fault in answer["skipped"]:
        say(f"left out: {fault['path']}: {fault['fault']}; {fault['cure']}", err=True)


def checked(answer: dict[str, Any], *, as_json: bool) -> int:
    """Print what a data set is made of and what is wrong with it; returns the exit code, 1 for faults."""
    wrong = {name: len(answer[name]) for name in ("faults", "leaks", "conflicts")}
    if as_json:
        document(answer)
        return int(any(wrong.values()))
    say(f"{answer['data']}: {answer['n']:,} pictures, {answer['ok']:,} can be read")
    for fault in answer["faults"]:
        say(f"fault     {fault['path']}: {fault['fault']}; {fault['cure']}")
    for group in answer["leaks"]:
        say(f"leak      the same picture in several splits: {_places(group, 'splits')}; keep it in one")
    for group in answer["conflicts"]:
        places = _places(group, "classes")
        say(f"conflict  the same picture in several classes: {places}; keep the right one")
    plain = [g for g in answer["duplicates"] if g not in answer["leaks"] and g not in answer["conflicts"]]
    for group in plain:
        say(f"copy      {', '.join(group['paths'])}; keep one")
    across = [pair for pair in answer["near_copies"] if len(set(pair["splits"])) > 1]
    for pair in answer["near_copies"]:
        say(f"near copy {_places(pair, 'splits')}: {pair['distance']} of 63 bits differ")
    if across:
        say(
            f"note      {len(across)} pairs of near copies lie in different splits, the commonest leak: the "
            "test counts pictures that were learned; keep both of a pair in one split"
        )
    for line in answer["unused"]:
        say(f"unused    {line}")
    splits = list(dict.fromkeys(s for c in answer["classes"].values() for s in c))
    table(
        ("class", *splits),
        [(name, *(c.get(s, 0) for s in splits)) for name, c in answer["classes"].items()],
    )
    for note in answer["notes"]:
        say(f"note      {note}")
    if answer["out"]:
        say(f"page      {answer['out']}")
    if not any(wrong.values()):
        good = "every picture can be read, and none is in two splits or two classes"
        say(f"look at the near copies in different splits; else {good}" if across else f"all is well: {good}")
        return 0
    say(f"to mend: {', '.join(f'{count} {name}' for name, count in wrong.items() if count)}")
    return 1


def _places(group: dict[str, Any], what: str) -> str:
    """Return the pictures of a group, each with its split or its class."""
    return ", ".join(f"{p} ({w})" for p, w in zip(group["paths"], group[what], strict=True))


def packed(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print what was packed, and what was left out."""
    if as_json:
        document(answer)
        return
    rows = [(name, f"{part['pictures']:,}", part["shards"]) for name, part in answer["splits"].items()]
    table(("split", "pictures", "shards"), rows)
    say(f"{answer['out']}: {answer['bytes'] / 2**20:,.1f} MiB")
    for line in answer["left_out"]:
        say(f"left out  {line}")
    for note in answer["notes"]:
        say(f"note      {note}")


def operations(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print the table of augmentations."""
    if as_json:
        document({"operations": rows})
        return
    table(
        ("name", "kind", "does", "default", "above", "up to", "share"),
        [
            (
                r["name"], r["kind"], r["does"],
                *("-" if r[key] is None else f"{r[key]:g}" for key in ("default", "above", "up_to", "share")),
            )
            for r in rows
        ],
    )  # fmt: skip
    say("A recipe names them as name, name:value or name:value@share, such as rotation:15@0.5")


def gallery(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print where a gallery is."""
    if as_json:
        document(answer)
        return
    say(f"{answer['image']}  {len(answer['rows'])} rows")


def networks(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print the table of networks."""
    if as_json:
        document(rows)
        return
    table(
        ("name", "family", "year", "parameters", "multiply-adds", "at", "published error", "paper"),
        [
            (
                r["name"],
                r["family"],
                r["year"],
                f"{r['parameters']:,}",
                f"{r['multiply_adds']:,}",
                r["input_size"],
                headline(r["published"]),
                f"{first_author(r['paper'])} {r['year']}",
            )
            for r in rows
        ],
    )
    if any(r["published"] and r["published"][0]["certainty"] == "uncertain" for r in rows):
        say("? uncertain: remembered or read off a curve; protocols and sources with --json", err=True)


def headline(records: list[dict[str, Any]]) -> str:
    """Return the first of a network's published figures in words: an accuracy is called one."""
    if not records:
        return "-"
    first = records[0]
    over = "above " if first["protocol"].startswith("lower bound") else ""
    metric = first["metric"].removeprefix(first["dataset"]).strip()
    doubt = "?" if first["certainty"] == "uncertain" else ""
    return f"{first['dataset']} {metric} {over}{first['value']:g} {first['unit']}".rstrip() + doubt


def first_author(paper: str) -> str:
    """Return the first author's name of a reference."""
    return paper.split(",")[0].split(" and ")[0].removesuffix(" et al.")


def summarized(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print a network layer by layer, then the totals and how they are counted."""
    if as_json:
        document(answer)
        return
    table(
        ("layer", "kind", "output", "parameters", "multiply-adds", "memory", "field", "stride"),
        [
            (
                layer["name"] or "-",
                layer["kind"],
                " x ".join(map(str, layer["output"])),
                f"{layer['parameters']:,}",
                f"{layer['multiply_adds']:,}",
                in_bytes(layer["activation_bytes"]),
                "all" if layer["receptive_field"] is None else layer["receptive_field"],
                "all" if layer["stride"] is None else layer["stride"],
            )
            for layer in answer["layers"]
        ],
    )
    side = answer["input_size"]
    say("")
    say(f"{answer['name']} at {side} x {side} x {answer['channels']}, {answer['classes']} classes")
    say(f"parameters        {answer['parameters']:,}")
    say(f"multiply-adds     {answer['multiply_adds']:,} ({2 * answer['multiply_adds']:,} FLOPs)")
    say(f"activations       {in_bytes(answer['activation_bytes'])} an image, forward, float32")
    say(f"receptive field   {answer['receptive_field']} pixels at the last map")
    say(
        "One multiply-add is one, FLOPs are twice that; convolutions and linear layers count. "
        "Memory: the input and the outputs of convolutions, poolings, linear layers and concatenations; "
        "the rest is done in place. Field and stride are in pixels of the input."
    )


def in_bytes(count: int) -> str:
    """Return a number of bytes in words: 1 MB is 10^6 bytes."""
    return f"{count / 1e6:.2f} MB" if count >= 1e4 else f"{count:,} B"


def compared(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print where the figures are."""
    if as_json:
        document(answer)
        return
    for path in answer["figures"]:
        say(path)


def benched(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print measurements: medians, and ratios to the named candidate of the same run."""
    if as_json:
        document(rows)
        return
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "bench": lambda r: r["bench"],
        "candidate": lambda r: r["candidate"],
        "median": lambda r: _figure(r["median"], ",.4g"),
        "unit": lambda r: r["unit"],
        "lowest": lambda r: _figure(r["lowest"], ",.4g"),
        "highest": lambda r: _figure(r["highest"], ",.4g"),
        "ratio": lambda r: _figure(r["ratio"], ".2f"),
        "to": lambda r: r["to"],
    }
    if any("memory_mb" in r for r in rows):
        columns |= {
            "peak MB": lambda r: _figure(r.get("memory_mb"), ",.0f"),
            "to forward": lambda r: _figure(r.get("memory_ratio"), ".2f"),
            "maps differ by": lambda r: _figure(r.get("difference"), ".1e"),
            "layout": lambda r: r.get("layout", "-"),
        }
    table(columns, [[cell(r) for cell in columns.values()] for r in rows])
    for r in rows:
        if r["note"]:
            say(f"{r['bench']}, {r['candidate']}: {r['note']}")
        if "spearman" in r:
            say(f"{r['bench']}, {r['candidate']}: rank correlation {r['spearman']:.3f} with all passes")


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
