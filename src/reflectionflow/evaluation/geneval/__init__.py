"""GenEval (arXiv 2310.11513) on current libraries: prompts, pictures in folders, detector, colours, results, scores.

    folder = read_folder(Path("pictures"))
    judge = official_judge()
    scored = score(folder.pictures, judge, Path("results.jsonl"))
    print(summarise(scored.records).text())

The rules, the 553 prompts and the scores are `reflectionflow.geneval`; here is what needs pictures and networks.
Nothing of the searches is imported, and torch only when a network is first asked.
"""

from __future__ import annotations

from reflectionflow.evaluation.geneval.clip_colours import ClipColours
from reflectionflow.evaluation.geneval.detector import Mask2FormerDetector
from reflectionflow.evaluation.geneval.judges import Judge, OfficialJudge, ScenesJudge
from reflectionflow.evaluation.geneval.layout import (
    Folder,
    Picture,
    read_folder,
    write_grid,
    write_prompts,
    write_sample,
)
from reflectionflow.evaluation.geneval.scoring import Broken, Scored, score
from reflectionflow.evaluation.geneval.sources import (
    CLIP,
    DETECTOR,
    Source,
    device_of,
    download,
    find,
    find_all,
    require_device_name,
)
from reflectionflow.geneval import Options, read_records, suite, summarise

__all__ = [
    "CLIP",
    "DETECTOR",
    "Broken",
    "ClipColours",
    "Folder",
    "Judge",
    "Mask2FormerDetector",
    "OfficialJudge",
    "Options",
    "Picture",
    "ScenesJudge",
    "Scored",
    "Source",
    "device_of",
    "download",
    "find",
    "find_all",
    "official_judge",
    "read_folder",
    "read_records",
    "require_device_name",
    "score",
    "suite",
    "summarise",
    "write_grid",
    "write_prompts",
    "write_sample",
]


def official_judge(
    detector: str = DETECTOR, clip: str = CLIP, device: str = "auto", options: Options | None = None
) -> OfficialJudge:
    """Return GenEval's judge from folders or names on the hub; weights load when it is first asked.

    Args:
        detector: A Mask2Former checkpoint of COCO instances in transformers layout.
        clip: A CLIP checkpoint with its tokenizer in transformers layout.
        device: auto, cpu, mps, cuda or cuda:N.
        options: Thresholds; the official ones when none.

    Raises:
        MisuseError: if a checkpoint is not on this machine (`download` fetches it), or the device has no such name.
        ConfigError: if both are not, or one is incomplete or of another kind.
    """
    require_device_name(device)
    # Both are looked for before either is opened.
    found, colours = find_all(detector, clip)
    return OfficialJudge(Mask2FormerDetector(found, device), ClipColours(colours, device), options)
