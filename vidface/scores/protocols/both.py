"""The protocols of both challenges in one object; what one of them cannot score is a warning."""

from __future__ import annotations

from vidface.errors import ManifestError
from vidface.manifest.manifest import Manifest
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols import challenges, iqiyi, lfrc
from vidface.scores.protocols.protocol import Protocol, Result
from vidface.scores.scored import Scored


def _score(scored: Scored, manifest: Manifest, options: ScoreOptions) -> Result:
    result = challenges.begin()
    try:
        iqiyi.add(result, scored, manifest, options)
    except ManifestError as error:
        result["warnings"].append(f"iqiyi not scored: {error}")
    if scored.embeddings is None:
        result["warnings"].append("lfrc not scored: a ranking holds no embeddings")
    else:
        lfrc.add(result, scored.embeddings, manifest, options)
    return challenges.finish(result, scored, manifest)


PROTOCOLS = (
    Protocol(
        "both", _score, challenges.lines, challenges.measures, lfrc.TARGETS, figures=("rankings", "pairs")
    ),
)
