"""Score several methods on several data sets under one or both protocols, and compare them.

This is what the command and the report are built on. In Python, from the repository's root:

    from pathlib import Path
    from compute_results.evaluation import evaluate
    from compute_results.groups import breakdown, built_in_groupings
    from compute_results.matching import find_masks, match_maps
    from compute_results.significance import compare

    masks = find_masks(Path("ORSSD/test-labels"))
    folders = {"HFANet-R": Path("maps/HFANet_R_ORSSD"), "SDNet": Path("maps/SDNet_ORSSD")}
    matchings = {(method, "ORSSD"): match_maps(masks, folder) for method, folder in folders.items()}
    scores = evaluate(matchings, ["authors", "field"])["field"]      # a Scores for each protocol, in one pass

    scores.results["SDNet", "ORSSD"].figures["maxF"]                 # over all images
    scores.results["SDNet", "ORSSD"].per_image["0001"]["Sm"]         # of one image
    scores.results["SDNet", "ORSSD"].image_curves["F"]               # images × thresholds, in the order of per_image
    scores.results["SDNet", "ORSSD"].curves                          # averaged: thresholds, precision, recall, f, e
    [(metric.name, metric.label, metric.lower_is_better) for metric in PROTOCOLS["field"].metrics]
    scores.masks["ORSSD"]["0001"]                                    # MaskFeatures: share, objects, border
    compare(scores, reference="HFANet-R")                            # Comparison for each method, set and metric
    breakdown(scores, {"ORSSD": built_in_groupings(scores.masks["ORSSD"])})   # GroupScores for each group and method
"""

import time
from collections.abc import Callable, Mapping, Sequence

from compute_results.matching import Matching, describe
from compute_results.protocols import PROTOCOLS
from compute_results.result import Scores
from compute_results.scoring import score_dataset


def evaluate(
    matchings: Mapping[tuple[str, str], Matching],
    protocols: Sequence[str] = tuple(PROTOCOLS),
    workers: int | None = None,
    datasets: Sequence[str] = (),
    describe_masks: bool = True,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Scores]:
    """Score every method on every data set, each map under all protocols in one pass.

    Args:
        matchings: maps and masks by (method, data set), the methods in the order of the tables.
        protocols: `authors`, `field` or both.
        workers: processes, by default one per processor.
        datasets: the data sets in the order of the tables, by default as `matchings` names them first.
        describe_masks: also describe each mask (`Scores.masks`), which the built-in groups need.
        report: is given a line on the time that each data set took, and on each unusual or unreadable file.

    Returns:
        The scores by protocol. Missing, surplus and unreadable maps become notes.

    Raises:
        OSError, ValueError: as `score_dataset`.
    """
    datasets = datasets or list(dict.fromkeys(dataset for _, dataset in matchings))
    tables = {protocol: Scores(protocol, list(datasets)) for protocol in protocols}
    found = {}
    for dataset in datasets:
        maps = {method: matching.pairs for (method, name), matching in matchings.items() if name == dataset}
        start = time.perf_counter()
        found[dataset] = score_dataset(maps, protocols, workers, dataset, describe_masks)
        seconds, count = time.perf_counter() - start, sum(map(len, maps.values()))
        methods = f"{len(maps)} method{'' if len(maps) == 1 else 's'}"
        report(f"{dataset}: {count} maps of {methods} in {seconds:.1f} s, {1000 * seconds / count:.1f} ms per map")
        for line in found[dataset].files.lines(dataset):
            report(f"warning: {line}")
        for message in found[dataset].files.messages():
            report(f"not scored: {message}")
    for protocol, scores in tables.items():
        for dataset, outcome in found.items():
            scores.notes.extend(outcome.files.notes(dataset))
            scores.problems.extend(outcome.files.messages())
            tops = outcome.files.common_tops()
            scores.tops.update({(method, dataset): top for method, top in tops.items()})
        for (method, dataset), matching in matchings.items():
            scores.results[method, dataset] = found[dataset].results[protocol, method]
            if matching.missing or matching.surplus:
                total = len(matching.pairs) + len(matching.missing)
                scored = f"{scores.results[method, dataset].images} of {total} masks scored"
                scores.notes.append(f"{method} on {dataset}: {scored}; {describe(matching)}.")
        scores.masks.update({dataset: outcome.masks for dataset, outcome in found.items() if outcome.masks})
    return tables
