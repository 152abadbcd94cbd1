"""A Python that can import everything but has no reflectionflow installed: the package comes from PYTHONPATH alone."""

from __future__ import annotations

import os
import site
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"


def uninstalled(folder: Path, *arguments: str, source: Path = SOURCE) -> subprocess.CompletedProcess[str]:
    """Run Python with links to all installed packages but ours, whose source is on PYTHONPATH; return what it said.

    Args:
        folder: Where the links go, and where Python runs.
        arguments: Of Python.
        source: The folder that holds `reflectionflow`.
    """
    links = folder / "site"
    links.mkdir(exist_ok=True)
    for packages in filter(Path.is_dir, map(Path, site.getsitepackages())):  # Debian names one that is not there
        for item in packages.iterdir():
            link = links / item.name
            if "reflectionflow" not in item.name and not link.is_symlink():
                link.symlink_to(item)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (links, source)))}
    return subprocess.run(
        [sys.executable, "-S", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
