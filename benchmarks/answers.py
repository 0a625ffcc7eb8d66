"""From a match's records to the answers of its questions."""

import statistics

from turns import ratio


def answer(question, records):
    """Answer one question.

    Args:
        question: `match.Question`.
        records: dict, as `turns.take_turns` returns it.

    Returns:
        dict of `what`, `value` (a float, or `None` if a contestant failed),
        `target` and `met` (a bool, or `None` without target or value).
    """
    above = _pick(question.numerator, records)
    below = _pick(question.denominator, records)
    value = None
    if above and below:
        value = _value(above, below, question.figure)
    known = value is not None and question.target is not None
    return {
        "what": question.what,
        "value": value,
        "target": question.target,
        "met": value <= question.target if known else None,
    }


def _pick(names, records):
    present = [records[name] for name in names.split("|") if name in records]
    present = [record for record in present if "error" not in record]
    if len(present) <= 1:
        return present[0] if present else None
    return min(present, key=lambda each: statistics.median(each["seconds"]))


def _value(above, below, figure):
    if figure == "seconds":
        return ratio(above["seconds"], below["seconds"])
    if figure in above and below.get(figure):
        return above[figure] / below[figure]
    return None
