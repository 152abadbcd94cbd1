"""Where the two models of GenEval come from: a folder, or a name on the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reflectionflow.errors import CheckpointError, ConfigError, MisuseError, ModelError
from reflectionflow.models import checkpoints, fingerprint, hub
from reflectionflow.models.loading import quiet

if TYPE_CHECKING:
    import torch

DETECTOR = "facebook/mask2former-swin-small-coco-instance"
CLIP = "openai/clip-vit-large-patch14"
FILES = ("*.json", "*.txt", "*.safetensors")
PICKLED = "pytorch_model.bin"


@dataclass(frozen=True)
class Source:
    """A checkpoint that was found: its folder, and its name on the hub if it came from there."""

    folder: Path
    hub: str | None = None

    @property
    def identity(self) -> str:
        """`name@revision`, which other weights change."""
        return fingerprint.identity(self.folder, self.hub)

    @property
    def relatives(self) -> frozenset[str]:
        """What it shares with any other user of the same weights."""
        return fingerprint.kinship(self.folder, self.hub)


def find(name: str) -> Source:
    """Return the checkpoint of this name: a folder if there is one, else a hub repository in the local cache.

    Nothing is downloaded; `download` does that.

    Raises:
        MisuseError: if it is neither.
    """
    if Path(name).is_dir():
        return Source(Path(name))
    if not _is_repository(name):
        raise MisuseError(f"there is no folder {name}; give the folder of a checkpoint, or a name such as {DETECTOR}")
    cached = hub.cached_folder(name)
    if cached is None:
        raise MisuseError(
            f"{name} is not downloaded; add --download, run `hf download {name}` where there is a network, or give "
            "the folder of a checkpoint"
        )
    return Source(cached, name)


def find_all(*names: str) -> list[Source]:
    """Return several checkpoints, as `find` does; all that are missing are told at once.

    Raises:
        MisuseError: if one is missing.
        ConfigError: if several are.
    """
    found, missing = [], []
    for name in names:
        try:
            found.append(find(name))
        except MisuseError as error:
            missing.append(error)
    if len(missing) > 1:
        raise ConfigError("the judge of GenEval", [str(error) for error in missing])
    if missing:
        raise missing[0]
    return found


def download(name: str) -> None:
    """Fetch a hub repository into the local cache, unless the name is a folder or its weights are there already.

    Raises:
        ModelError: if it cannot be fetched.
    """
    if Path(name).is_dir() or not _is_repository(name) or _has_weights(hub.cached_folder(name)):
        return
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=list(FILES)))
        if not _has_weights(folder):
            snapshot_download(name, allow_patterns=[PICKLED])
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{name} cannot be downloaded ({reason}); give the folder of a checkpoint instead.") from error


def faults(source: Source, model_type: str) -> list[str]:
    """Return what is wrong with a checkpoint, one sentence each; no weight is read."""
    check = checkpoints.problems if model_type == "clip" else checkpoints.weight_problems
    return check(source.folder, model_type)


def load(source: Source, kind: type[Any], device: torch.device) -> Any:
    """Return a model of transformers, whole, in float32 and ready to be asked.

    Args:
        source: Where it lies.
        kind: A class with `from_pretrained`.
        device: Where it shall run.

    Raises:
        CheckpointError: if weights are missing or of another shape.
    """
    import torch

    try:
        with quiet("transformers"):
            model, told = kind.from_pretrained(
                source.folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"{source.folder} holds no complete {kind.__name__} ({error}); fetch the checkpoint again."
        ) from error
    # Buffers that older versions of the library did not save are made again, so weights alone count.
    weights = {name for name, _ in model.named_parameters()}
    absent = {name for name in told["missing_keys"] if name in weights}
    lacking = sorted(map(str, [*absent, *told["mismatched_keys"]]))
    if lacking:
        raise CheckpointError(
            f"{source.folder} lacks {len(lacking)} weights of a {kind.__name__}, {lacking[0]} among them; "
            "give the folder of a whole one."
        )
    return model.to(device).eval().requires_grad_(False)


def device_of(name: str) -> torch.device:
    """Return a device by name; "auto" is a GPU where there is one, else the CPU.

    Raises:
        MisuseError: if there is no such name, or this machine has no such device.
    """
    require_device_name(name)
    import torch

    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if cards else "cpu")
    kind, _, number = name.partition(":")
    there = {"cpu": True, "cuda": int(number or 0) < cards, "mps": torch.backends.mps.is_available()}
    if not there[kind]:
        raise MisuseError(f"the device {name!r} is not there for this build of torch; use auto or cpu.")
    return torch.device(name)


def require_device_name(name: str) -> None:
    """Refuse what is no name of a device; torch is not needed for it.

    Raises:
        MisuseError: if it is none.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise MisuseError(f"there is no device {name!r}; use auto, cpu, mps, cuda or cuda:N.")


@contextmanager
def single_precision() -> Iterator[None]:
    """Run convolutions in full single precision: newer GPUs round their inputs to 10 bits otherwise."""
    import torch

    with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
        yield


def _is_repository(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 2 and all(part and not part.startswith((".", "~")) for part in parts)


def _has_weights(folder: Path | None) -> bool:
    return folder is not None and any(path for pattern in checkpoints.WEIGHTS for path in folder.glob(pattern))
