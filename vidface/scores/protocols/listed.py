"""Embeddings and a list of pairs -> scores: the protocols ``pairs``, ``folds`` and ``ytf``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidface.errors import ManifestError, UsageError, Warned
from vidface.manifest.manifest import Manifest
from vidface.manifest.pairs import ListedPairs, read_pairs
from vidface.scores.metrics.fpr_rules import FprRule
from vidface.scores.metrics.listed_pairs import auc, equal_error_rate
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols import pairs as protocol_pairs
from vidface.scores.protocols.lfrc import identity_codes
from vidface.scores.protocols.protocol import (
    Measure,
    Protocol,
    Result,
    at_targets,
    cost,
    costs,
    rate_costs,
    reason,
    warning_lines,
    with_costs,
)
from vidface.scores.scored import Scored, merge_numbers, needed_embeddings
from vidface.scores.text import columns, interval, number, rate, rule_line, tpr_label

__all__ = ["PROTOCOLS", "frame_choice"]

SHOWN = 5  # problems of a list; all are in the JSON
_ACCURACY, _VAL = "accuracy by folds", "VAL at FAR "


def _score(scored: Scored, manifest: Manifest, options: ScoreOptions) -> Result:
    """``scores.json`` as ``docs/protocols/pairs.md`` says: ``pairs`` overall, ``folds`` and ``ytf`` also by folds."""
    path, protocol, fpr_rule = options.pairs, options.protocol, options.fpr_rule
    if path is None:
        raise UsageError(f"--protocol {protocol} needs --pairs")
    embeddings = needed_embeddings(scored, "pairs need an embeddings file or a matrix")
    listed = read_pairs(path, manifest)
    if protocol == "ytf" and listed.folds is None:
        raise UsageError(
            f"{path}: a list without splits ({listed.form}): ytf needs splits.txt; pass --protocol folds"
        )
    scores, usable = protocol_pairs.pair_scores(embeddings, listed.first, listed.second)
    people = _people(manifest)
    by_folds = protocol != "pairs"
    try:
        result = protocol_pairs.score_listed_pairs(
            scores,
            listed.same,
            people[listed.first],
            people[listed.second],
            options.targets,
            fpr_rule=fpr_rule,
        )
        if by_folds:
            folds = protocol_pairs.fold_numbers(listed.folds, len(scores))
            merge_numbers(result, protocol_pairs.score_folds(scores, listed.same, folds, fpr_rule=fpr_rule))
    except ValueError as error:
        fewer = f"; left out: {_why_fewer(listed)}" if listed.left_out else ""
        raise ManifestError(
            f"{path}: of its {listed.listed} pairs {len(scores)} can be used: {error}{fewer}"
        ) from None
    result["failed"] = _failed(result, scores, usable, listed, fpr_rule)
    used = np.unique([listed.first, listed.second])
    zero = ~embeddings[used].any(axis=1)
    zero_names = [manifest.video_ids[row] for row in used[zero].tolist()]
    result["counts"] |= {
        "listed": listed.listed,
        "left_out": sum(listed.left_out.values()),
        "repeated": listed.repeated,
        "against_manifest": listed.against_manifest,
        "videos": len(used),
        "zero_embeddings": len(zero_names),
        "zero_pairs": int((~usable).sum()),
    }
    zero_pairs = result["counts"]["zero_pairs"]
    result["warnings"] = [*_warnings(listed, path, protocol, zero_names, zero_pairs), *result["warnings"]]
    definitions = protocol_pairs.definitions(fpr_rule, folds=by_folds)
    definitions["frames"] = frame_choice(scored, used.tolist())
    more = {"left_out": listed.left_out, "problems": listed.problems, "definitions": definitions}
    return Result({**result, **more, "inputs": listed.inputs})


def _failed(
    result: Mapping[str, Any],
    scores: NDArray[np.float64],
    usable: NDArray[np.bool_],
    listed: ListedPairs,
    rule: FprRule,
) -> dict[str, Any]:
    """What pairs with an unusable video cost each measure, and beside the first one what the list lacks."""
    same, rest = listed.same, usable
    lost, lost_genuine = int((~rest).sum()), int((same & ~rest).sum())
    left_out = sum(listed.left_out.values())
    what = "have a video without a usable frame and score 0"
    values: dict[str, float | None] = {}
    if "accuracy" in result:
        values[_ACCURACY] = protocol_pairs.accuracy_of(scores[rest], same[rest], listed.folds, rest)
    mixed = 0 < int(same[rest].sum()) < int(rest.sum())
    values["AUC"] = auc(scores[rest], same[rest]) if mixed else None
    values["EER"] = equal_error_rate(scores[rest], same[rest]) if mixed else None
    found = costs(f"pairs {what}", lost, len(rest), values)
    genuine, label = int(same.sum()), lambda target: tpr_label(target, rule)
    found |= rate_costs(f"genuine pairs {what}", lost_genuine, genuine, result, label)
    if left_out:
        first = _ACCURACY if "accuracy" in result else "AUC"
        if first in found:
            found[first]["why"] += f", {left_out:,} of {listed.listed:,} listed ones are left out"
        else:
            found[first] = cost("listed pairs are left out", left_out, listed.listed, None)
    return found


def _why_fewer(listed: ListedPairs) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in listed.left_out.items())
    return reasons + (f"; the first: {listed.problems[0]}" if listed.problems else "")


def _people(manifest: Manifest) -> NDArray[np.int64]:
    """int64 [V], a number for everybody; a video of nobody known has its own."""
    codes, names = identity_codes(manifest)
    return np.where(codes >= 0, codes, len(names) + np.arange(len(codes)))


def frame_choice(scored: Scored, used: Sequence[int]) -> str:
    """Which frames the embeddings of these rows of the manifest were made of, in words, from what their file says."""
    inputs = scored.inputs
    if scored.frames is None or scored.kept is None or "fps" not in inputs:
        return "not known: a matrix does not say which frames its rows were made of"
    frames, kept = (counts[np.asarray(used)] for counts in (scored.frames, scored.kept))
    most = inputs.get("folder_frames")
    folders = "whole" if most is None else f"at most {most} a folder, evenly spaced"
    sampled = "every frame" if inputs["fps"] == "all" else f"{inputs['fps']} frames a second"
    if inputs.get("faces") == "detect":
        found = f"faces found in the frames, {inputs.get('track', 'main')} track"
    else:
        found = "frames as aligned faces"
    grouped = (
        "no clustering" if inputs["threshold"] == "none" else f"clustered at cosine {inputs['threshold']}"
    )
    total = int(frames.sum())
    return (
        f"folders of frames {folders}, video files {sampled} ({inputs['decoder']}); {found}; frames a video: "
        f"{int(frames.min())} to {int(frames.max())}, median {np.median(frames):g}, {total} in all; {grouped}, "
        f"{int(kept.sum())} of them kept; {inputs['pooling']}; flip {'on' if inputs['flip'] else 'off'}"
    )


def _warnings(
    listed: ListedPairs, path: Path, protocol: str, zero: Sequence[str], zero_pairs: int
) -> list[str]:
    """What is to be said of the list, of videos without a usable frame, and of the folds."""
    warnings: list[str] = []
    pairs = len(listed.first)
    if listed.left_out:
        count = sum(listed.left_out.values())
        text = f"{count} of {listed.listed} listed pairs are left out: {_why_fewer(listed)}"
        warnings.append(Warned(text, count / listed.listed))
    if listed.repeated:
        warnings.append(f"{listed.repeated} pairs stand in the list more than once and count each time")
    if listed.against_manifest:
        swapped = "; these are all: are its 1 and 0 swapped?" if listed.against_manifest == pairs else ""
        text = (
            f"{listed.against_manifest} pairs have another label in {path.name} than the identities of the manifest "
            f"say: the list counts{swapped}"
        )
        warnings.append(Warned(text, listed.against_manifest / pairs))
    warnings += listed.notes
    if zero:
        text = f"{len(zero)} videos have no usable frame, the first is {zero[0]!r}: their {zero_pairs} pairs score 0"
        warnings.append(Warned(text, zero_pairs / pairs))
    found = 0 if listed.folds is None else len(np.unique(listed.folds))
    if protocol != "pairs" and not found:
        warnings.append(f"the list has no folds: {protocol_pairs.FOLDS} were cut in its order")
    if protocol == "ytf" and found != protocol_pairs.FOLDS:
        warnings.append(f"{found} splits, where YouTube Faces has {protocol_pairs.FOLDS}")
    return warnings


def _measures(scores: Mapping[str, Any]) -> list[Measure]:
    intervals, rule = scores["ci95"], scores["fpr_rule"]
    found = []
    if "accuracy" in scores:
        found.append(Measure(_ACCURACY, scores["accuracy"], intervals["accuracy"]))
    if "val@far" in scores:
        val = scores["val@far"] and scores["val@far"]["val"]
        note = reason(scores, protocol_pairs.VAL_TARGET) if val is None else ""
        found.append(Measure(f"{_VAL}{protocol_pairs.VAL_TARGET} by folds", val, note=note))
    found += [
        Measure(name.upper(), scores[name], intervals[name], lower_is_better=name == "eer")
        for name in ("auc", "eer")
    ]
    found += at_targets(
        scores, scores["tpr@fpr"], intervals["tpr@fpr"], lambda target: tpr_label(target, rule)
    )
    return with_costs(scores, found)


def _lines(scores: Mapping[str, Any]) -> str:
    """Measures with intervals, folds, counts, warnings, and the first problems of the list."""
    rows, beside = [("measure", "value", "95 % interval")], [""]
    for each in _measures(scores):
        if each.value is None and each.label.startswith(_VAL):
            continue  # a warning says why
        rows.append((each.label, number(each.value), interval(each.interval)))
        beside += [""] * (len(rows) - len(beside) - 1) + [each.beside]
        if each.label == _ACCURACY:
            rows.append(("  std over folds", number(scores["std"]), "-"))
            rows.append(("  standard error", number(scores["standard_error"]), "-"))
        elif each.label.startswith(_VAL):
            rows.append(("  FAR reached", rate(scores["val@far"]["far"]), "-"))
    lines = [columns(rows, beside), ""]
    if "folds" in scores:
        lines += [_folds(scores), ""]
    counts = scores["counts"]
    lines.append(
        f"{counts['pairs']} pairs ({counts['same']} same, {counts['different']} different) of {counts['listed']} "
        f"listed, {counts['videos']} videos"
    )
    lines.append(rule_line(scores))
    if scores["protocol"] == "ytf":
        lines.append(f"frames: {scores['definitions']['frames']}")
    lines += warning_lines(scores)
    problems = scores["problems"]
    lines += problems[:SHOWN]
    if len(problems) > SHOWN:
        lines.append(f"... {len(problems) - SHOWN} more lines of the list are named in the JSON (-o, --json)")
    return "\n".join(lines)


def _folds(scores: Mapping[str, Any]) -> str:
    """One row per fold: thresholds as squared distance, and as the cosine that this is."""
    rows: list[tuple[str, ...]] = [("fold", "pairs", "same", "accuracy", "threshold d2", "as cosine")]
    for row in scores["folds"]:
        whole = (str(row[name]) for name in ("fold", "pairs", "same"))
        thresholds = (f"{row['threshold']:.2f}", f"{1 - row['threshold'] / 2:.3f}")
        rows.append((*whole, number(row["accuracy"]), *thresholds))
    return columns(rows)


PROTOCOLS = tuple(
    Protocol(name, _score, _lines, _measures, protocol_pairs.TARGETS) for name in ("pairs", "folds", "ytf")
)
