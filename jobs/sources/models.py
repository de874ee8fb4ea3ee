"""Where a base model comes from: a packaged tiny model, a diffusers folder, or the hub at a pinned commit. Imports no torch.

What else of the user's has weights comes the same way: the safety checker of a pipeline, a CLIP that measures images, a captioner.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from jobs.errors import InputError, OutOfReach
from jobs.grid.messages import nearest, show
from jobs.keys import sha256_text
from jobs.stages.specs import Family, FolderModel, HubModel, PackagedModel
from s2l_core.families import blip_folder, checker_folder, clip_folder, sd_folder

ModelSource = PackagedModel | FolderModel | HubModel

_HUB = re.compile(r"^(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>.*))?$")
_COMMIT = re.compile(r"^[0-9a-f]{40}$")
_HUB_FILES: dict[Family, tuple[str, ...]] = {
    "sd": ("model_index.json", *(f"{part}/*" for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"))),
    "safety-checker": ("model_index.json", "safety_checker/*", "feature_extractor/*"),
    "clip": ("*.json", "*.safetensors", "*.txt"),
    "captioner": ("*.json", "*.safetensors", "*.txt"),
}
Inspected = sd_folder.SDFolder | checker_folder.CheckerFolder | clip_folder.ClipFolder | blip_folder.BlipFolder
_INSPECT: dict[Family, Callable[[Path], Inspected]] = {
    "sd": sd_folder.inspect,
    "safety-checker": checker_folder.inspect,
    "clip": clip_folder.inspect,
    "captioner": blip_folder.inspect,
}
_NOT_READ = ("*.bin", "*.ckpt", "*.pt", "*.pth", "*.msgpack", "*.h5", "*.onnx", "*.onnx_data", "*.pb", "*.py")


def resolve_model(value: str, family: Family = "sd") -> tuple[ModelSource, dict[str, Path]]:
    """What a grid's `model` stands for: its source, and the local folder by content hash when it is the user's own.

    `tiny` is packaged; `org/name@<40 hex digits>` is on the hub; anything else is a folder. A folder that exists wins over a hub name.

    Raises:
        InputError: there is no such model, or it cannot be used; the message says what is allowed.
    """
    from s2l_core import tiny

    if family == "safety-checker" and value in tiny.catalog():
        raise InputError(f"the packaged model {value} has no safety checker; {checker_folder.OFF}")
    packaged = sorted(tiny.catalog()) if family == "sd" else []
    if value in packaged:
        return PackagedModel(name=value, content=tiny.content(value)), {}
    folder = Path(value).expanduser()
    if folder.exists():
        folder = folder.resolve()
        content = folder_content(folder, family)
        return FolderModel(content=content), {content: folder}
    hub = _HUB.match(value)
    if hub and not value.startswith("."):
        return HubModel(repo=hub["repo"], revision=_pinned(hub["repo"], hub["revision"])), {}
    if "/" in value:
        raise InputError(f"there is no model folder {value}")
    layout = "transformers" if family in ("clip", "captioner") else "diffusers"
    allowed = f"allowed: {', '.join([*packaged, f'a folder in the {layout} layout'])}, or org/name@revision on the hub"
    raise InputError(f"unknown model {show(value)}; {allowed}{nearest(value, packaged)}")


def _pinned(repo: str, revision: str | None) -> str:
    if revision and _COMMIT.match(revision):
        return revision
    got = f"got revision {show(revision)}" if revision else "got none"
    find = (
        f"https://huggingface.co/{repo}/commits/main lists them, and `git ls-remote https://huggingface.co/{repo} HEAD` prints the newest"
    )
    raise InputError(
        f"there is no folder {repo}, and a model on the hub needs a pinned revision, {repo}@ and 40 hex digits; {got}. "
        f"A branch or a tag can move, and results would no longer say which model they are about; {find}"
    )


def folder_content(folder: Path, family: Family = "sd") -> str:
    """The sha256 over names and bytes of the files that the model needs; where the folder lies is no part of it.

    Raises:
        InputError: it is no folder of that family.
    """
    return sha256_text("".join(f"{name}  {_file_sha256(folder / name)}\n" for name in _names(folder, family)))


def copy_folder(folder: Path, out: Path, family: Family = "sd") -> str:
    """Copy the files that the model needs; returns the content hash of what was copied.

    Raises:
        InputError: it is no folder of that family.
    """
    for name in _names(folder, family):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, out / name)
    return folder_content(out, family)


def download(model: HubModel, out: Path, family: Family = "sd") -> None:
    """Fetch a pinned model from the hub: safetensors, configurations and tokenizer, no code and no pickles.

    Raises:
        OutOfReach: the hub does not answer.
        InputError: there is no such model or revision, it needs a licence to be accepted, or it is no model of that family.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read by huggingface_hub when it is imported
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = f"{model.repo}@{model.revision}"
    try:
        files = list(_HUB_FILES[family])
        found = snapshot_download(model.repo, revision=model.revision, allow_patterns=files, ignore_patterns=list(_NOT_READ))
    except GatedRepoError as error:
        raise InputError(f"{name} asks for its licence to be accepted: do that on its hub page, and set HF_TOKEN") from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise InputError(f"the hub has no {name} (or it is private and HF_TOKEN is not set)") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise OutOfReach(
            f"the model hub cannot be reached for {name}: {_first_line(error)}; download it where there is a network "
            "(`hf download`), copy the folder here, and name the folder as model"
        ) from error
    copy_folder(Path(found), out, family)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _names(folder: Path, family: Family) -> tuple[str, ...]:
    try:
        names = _INSPECT[family](folder).names
    except ValueError as error:
        raise InputError(str(error)) from error
    root = folder.resolve()
    for name in names:
        file = (folder / name).resolve()
        if not file.is_relative_to(root) and not (root.parent.name == "snapshots" and file.is_relative_to(root.parents[1] / "blobs")):
            raise InputError(f"{folder / name} is a link that leads out of the model's folder; copy the file into it")
    return names


def _file_sha256(path: Path) -> str:
    whole = hashlib.sha256()
    for part in _parts(path):
        whole.update(part)
    return whole.hexdigest()


def _parts(path: Path, size: int = 2**22) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(size):
            yield part
