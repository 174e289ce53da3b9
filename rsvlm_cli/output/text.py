"""A report as plain text: one result a line, tabs between columns, nothing where nothing was found."""

from collections.abc import Mapping, Sequence

from rsvlm_cli.output.document import cover, name_date
from rsvlm_cli.results import Answer, Box, ClassScores, Count, Hop, Mask, Report, Result, Source


def report_to_text(report: Report, *, with_name: bool = False) -> str:
    """Return the answer's lines; ``with_name`` puts the raster's name first, as grep does for several files."""
    name = f"{report.sources[0].path}: " if with_name else ""
    # Where words or numbers answer, a box beside them is what they speak of.
    words = [result for result in report.results if isinstance(result, (Answer, Count))]
    lines = [line for result in words or report.results for line in _lines(result, report.sources[0])]
    changes = [result for result in report.results if isinstance(result, (Answer, Mask)) and result.pair]
    if changes:
        lines = _change_lines(report, changes)
    return "".join(f"{name}{line}\n" for line in lines)


def _lines(result: Result, source: Source) -> list[str]:
    if isinstance(result, Answer):
        return [one_line(result.text)]
    if isinstance(result, ClassScores):
        return [f"{p:.3f}\t{label}" for label, p in zip(result.labels, result.probabilities, strict=True)]
    if isinstance(result, Count):
        return [f"{result.n}\t{result.label}"]
    if isinstance(result, Box):
        score = "" if result.score is None else f"{result.score:.2f}"
        numbers = result.box_px if result.quad_px is None else [v for vertex in result.quad_px for v in vertex]
        return [f"{result.label}\t{score}\t" + ",".join(f"{v:.0f}" for v in numbers)]
    return [
        f"{c.label}\t{c.share:.1%}" + ("" if c.area_m2 is None else f"\t{format_area(c.area_m2)}")
        for c in cover(result, source)
    ]


def _change_lines(report: Report, changes: Sequence[Answer | Mask]) -> list[str]:
    """Return what changed from date to date: sentences, the dates before them if there are several, or a table."""
    lines = []
    for change in changes:
        before, after = (name_date(report.sources[k]) for k in change.pair or (0, 1))
        if isinstance(change, Answer):
            lines.append((f"{before}\t{after}\t" if len(changes) > 1 else "") + one_line(change.text))
            continue
        lines = lines or ["from\tto\tlabel\tpatches\tshare\tarea\tconfidence"]
        for c in cover(change, report.sources[0]):
            area = "-" if c.area_m2 is None else format_area(c.area_m2)
            score = "-" if c.mean_probability is None else f"{c.mean_probability:.2f}"
            lines.append("\t".join([before, after, c.label, str(c.n_patches), f"{c.share:.1%}", area, score]))
    return lines


def looks_to_text(report: Report) -> str:
    """Return in one line what the model was shown."""
    seen = []
    for look in report.looks:
        windows = f"{look.n_windows} windows" if look.n_windows != 1 else "1 window"
        gsd = "" if look.model_gsd_m is None else f", {look.model_gsd_m:.3g} m a pixel"
        size = " x ".join(f"{side:g}" for side in look.window_px)
        seen.append(f"{windows} of {size} px as {look.model_px[0]} x {look.model_px[1]} px{gsd}")
    hops = [result for result in report.results if isinstance(result, Hop)]
    if hops:
        finest_m = min((hop.model_gsd_m for hop in hops if hop.model_gsd_m is not None), default=None)
        seen.append(f"{len(hops)} closer" + ("" if finest_m is None else f", down to {finest_m:.3g} m a pixel"))
    return f"{report.sources[0].path}: the model saw " + "; ".join(seen)


def one_line(text: str) -> str:
    """Return a model's text in one line that no terminal takes for a command."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(text.split()))


def format_area(area_m2: float) -> str:
    """Write an area with a unit that suits it."""
    if area_m2 < 1e4:
        return f"{area_m2:.0f} m²"
    return f"{area_m2 / 1e4:.2f} ha" if area_m2 < 1e6 else f"{area_m2 / 1e6:.2f} km²"


def mapping_to_text(values: Mapping[str, object]) -> str:
    """Write facts as ``name: value`` lines; a list of records gives one line each."""
    lines = []
    for name, value in values.items():
        if isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
            lines += [f"{name}: " + ", ".join(f"{k} {v}" for k, v in item.items() if v is not None) for item in value]
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], str):
            lines.append(f"{name}: " + ", ".join(value))
        elif isinstance(value, (list, tuple)):
            lines.append(f"{name}: " + (", ".join(f"{v:.9g}" for v in value) or "none"))
        elif isinstance(value, Mapping):
            lines += [f"{name} {key}: {item}" for key, item in value.items()]
        else:
            lines.append(f"{name}: {'unknown' if value is None else value}")
    return "".join(line + "\n" for line in lines)
