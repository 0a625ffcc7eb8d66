"""From a match's records to the answers of its questions."""

import statistics

from turns import ratio
from turns import ratios


def answer(question, records):
    """Answer one question.

    Args:
        question: `match.Question`.
        records: dict, as `turns.take_turns` returns it.

    Returns:
        dict of `what`, `backend`, `value` (a float, or `None` if a
        contestant failed), `range` (the smallest and the largest ratio of a
        round, or `None` for what is measured once), `target` and `met` (a
        bool, or `None` without target or value).
    """
    above = _pick(question.numerator, records)
    below = _pick(question.denominator, records)
    pair = _figures(above, question.figure), _figures(below, question.figure)
    value, rounds = ratio(*pair), ratios(*pair)
    known = value is not None and question.target is not None
    return {
        "what": question.what,
        "backend": question.backend,
        "value": value,
        "range": [min(rounds), max(rounds)] if len(rounds) > 1 else None,
        "target": question.target,
        "met": value <= question.target if known else None,
    }


def every_answer(results):
    """Return all answers of a run in one list.

    Args:
        results: dict, as `run.py` writes it.

    Returns:
        list of dict: the answers, each with the `benchmark`, the `case` and
        the `backend` that it is about.
    """
    return [
        {
            **each,
            "benchmark": match["benchmark"],
            "case": match["case"],
            "backend": each["backend"] or match["backend"],
        }
        for match in results["matches"]
        for each in match["answers"]
    ]


def _pick(names, records):
    present = [records[name] for name in names.split("|") if name in records]
    present = [record for record in present if "error" not in record]
    if len(present) <= 1:
        return present[0] if present else None
    return min(present, key=lambda each: statistics.median(each["seconds"]))


def _figures(record, figure):
    if record is None:
        return []
    if figure == "seconds":
        return record["seconds"]
    return [record[figure]] if record.get(figure) else []
