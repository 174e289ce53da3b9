"""An evaluation as text: the table of rows, every score beside it, the reliability of scored answers."""

import math

from train.evaluate.run import Evaluation, Reliability, ScoredRow
from train.evaluate.score import Score

HEAD = "| task, set | n | metric | score | 95 % interval | without looking | at least | aim | reached |"


def as_text(evaluation: Evaluation) -> str:
    """Return the tables in Markdown."""
    lines = [HEAD, "|---" * (HEAD.count("|") - 1) + "|"]
    for scored in evaluation.rows:
        lines += _row_lines(scored)
    lines += ["", "| scores of | n | calibration error | 95 % interval | score: right (n) |", "|---|---|---|---|---|"]
    lines += [_reliability_line(one) for one in evaluation.reliabilities]
    tally = evaluation.tally
    lines += [
        "",
        f"{tally.asked} requests: {tally.broken} replies broke their grammar, {tally.truncated} were truncated, "
        f"{tally.unreadable} images could not be read.",
        f"Not learnt: {', '.join(evaluation.not_learnt) or 'none'}.",
    ]
    if any(score.drawn_by == "image" for row in evaluation.rows for score in row.scores):
        lines.append("(i): drawn by image for want of places; too narrow.")
    return "\n".join(lines) + "\n"


def _row_lines(scored: ScoredRow) -> list[str]:
    if not scored.scores:
        return [f"| {scored.row.name} | 0 | | not there | | | | | |"]
    least, aim = scored.wanted
    first, *others = scored.scores
    lines = [_line(f"**{scored.row.name}**", first, _number(least), _number(aim), scored.reached)]
    lines += [_line(f"- {part.data[0]}", part) for part in first.parts]
    return lines + [_line(f"- {score.task}" if score.task != first.task else "-", score) for score in others]


def _line(name: str, score: Score, least: str = "", aim: str = "", reached: str = "") -> str:
    low, high = score.interval
    by = " (i)" if score.drawn_by == "image" else ""
    blind = "" if score.baseline is None else f"{_number(score.baseline)} ({score.baseline_is})"
    metric = score.metric if score.threshold is None else f"{score.metric}, from {score.threshold:g}"
    tuned = "" if score.value_tuned is None else f" ({_number(score.value_tuned)} tuned)"
    return (
        f"| {name} | {score.n} | {metric} | {_number(score.value)}{tuned} | {_number(low)} to {_number(high)}{by} "
        f"| {blind} | {least} | {aim} | {reached} |"
    )


def _reliability_line(one: Reliability) -> str:
    bins = ", ".join(f"{b.confidence:.2f}: {b.accuracy:.2f} ({b.n})" for b in one.bins)
    low, high = one.interval
    return f"| {one.what} | {one.n} | {one.error:.3f} | {low:.3f} to {high:.3f} | {bins} |"


def _number(value: float | None) -> str:
    return "" if value is None else "none" if math.isnan(value) else f"{value:.3f}"
