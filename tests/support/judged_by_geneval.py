"""The real command line, judged by GenEval's real classes, in a process that may be told to die.

    python -m tests.support.judged_by_geneval LOG WHAT COUNT ARGUMENT...

WHAT is `decide`, `rename` or `never`: the process kills itself just before the judge's COUNT-th decision, or before
the COUNT-th renaming of a picture file. Each decision the judge is asked for leaves a line in LOG.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from reflectionflow.cli import app
from reflectionflow.evaluation.judges import GenevalJudge
from reflectionflow.geneval import Clause, Metadata
from tests.support.driver import Reaper

PROMPTS = (
    Metadata("single_object", "a photo of a sandwich", (Clause("sandwich"),)),
    Metadata("two_object", "a photo of a bowl and a giraffe", (Clause("bowl"), Clause("giraffe"))),
    Metadata("colors", "a photo of a purple skateboard", (Clause("skateboard", 1, "purple"),)),
)
SIDES = {"width": 200, "height": 8}


def painting_stack(path: Path, log: Path, verifier: str = 'model = "tiny_world:BRIGHTNESS"') -> Path:
    """Write a stack of the tiny world whose pictures are long and low, which is cheap to look at; return its file."""
    painter = f'model = "noting_painter:SPEC"\nlog = {json.dumps(str(log))}'
    roles = {
        "generator": painter,
        "verifier": verifier,
        "corrector": painter,
        "reflector": 'model = "tiny_world:CRITIC"',
    }
    tables = "\n".join(f"[{role}]\n{lines}\n" for role, lines in roles.items())
    sides = "\n".join(f"{name} = {pixels}" for name, pixels in SIDES.items())
    path.write_text(f'name = "tiny"\ndescription = "a test"\n[defaults]\n{sides}\n{tables}', encoding="utf-8")
    return path


def own_prompts(path: Path) -> Path:
    """Write prompts of COCO's objects, some of whose pictures the tiny networks accept; return the file."""
    path.write_text("\n".join(prompt.line() for prompt in PROMPTS), encoding="utf-8")
    return path


def main(log: str, what: str, at: str, *arguments: str) -> None:
    reaper = Reaper(int(at))
    decide = GenevalJudge.decide

    def noted(judge, items):
        if what == "decide":
            reaper()
        with Path(log).open("a") as file:
            for image, metadata in items:
                file.write(f"{hashlib.sha256(image.tobytes()).hexdigest()} {metadata.prompt}\n")
        return decide(judge, items)

    def watch(audited, given):
        if what == "rename" and audited == "os.rename" and ".png" in str(given[0]):
            reaper()

    GenevalJudge.decide = noted
    sys.addaudithook(watch)
    app(list(arguments), prog_name="reflectionflow")


if __name__ == "__main__":
    main(*sys.argv[1:])
