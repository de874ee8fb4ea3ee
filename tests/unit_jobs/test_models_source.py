"""Where base models and data come from: values of a grid, content hashes, and what the two input stages commit."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import InputError, OutOfReach
from jobs.sources.imagefolder import scan
from jobs.sources.models import folder_content, resolve_model
from jobs.stages import base, data
from jobs.stages.contract import StageJob
from jobs.stages.specs import BaseStage, DataStage, DrawnFaces, FolderImages, FolderModel, HubModel, PackagedModel
from s2l_core import tiny
from s2l_core.captioners import load as load_captioner
from s2l_core.features import load
from s2l_core.images import read_images
from s2l_core.specs.captioners import BlipCaptioner
from s2l_core.specs.fidelity import ClipFeatures
from tests.blip_models import save_blip
from tests.clip_models import add_checker, save_clip
from tests.orl_folder import build_orl_folder, orl_source
from tests.sd_models import sd_model

REVISION = "0123456789abcdef0123456789abcdef01234567"


class NoProgress:
    def load(self, into: Path) -> bool:
        return False

    def save(self, folder: Path) -> None: ...


class NoCache:
    def get(self, key: str, make: Callable[[], Any]) -> Any:
        return make()


def job(spec: Any, out: Path, **inputs: Path) -> StageJob:
    out.mkdir()
    return StageJob(spec, "k" * 64, (), out, NoProgress(), NoCache(), "cpu", lambda fraction, words: None, inputs)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "mine"
    sd_model().save(folder)
    return folder


@pytest.fixture
def model(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "mine"))


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- values of a grid ---


def test_a_folder_is_named_by_the_files_of_its_pipeline_alone(model: Path, tmp_path: Path) -> None:
    source, inputs = resolve_model(str(model))
    assert source == FolderModel(content=folder_content(model))
    assert inputs == {source.content: model.resolve()}
    moved = tmp_path / "elsewhere"
    model.rename(moved)
    (moved / "README.md").write_text("notes")
    (moved / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    assert folder_content(moved) == source.content
    path = moved / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text().replace("0.012", "0.013"))
    assert folder_content(moved) != source.content


@pytest.mark.parametrize("name", sorted(tiny.catalog()))
def test_a_packaged_model_is_named_by_the_digest_of_its_files(name: str) -> None:
    source, inputs = resolve_model(name)
    assert source == PackagedModel(name=name, content=tiny.content(name))
    assert source.content == folder_content(tiny.packaged(name))
    assert inputs == {}


def test_a_pinned_hub_model_is_named_by_its_commit() -> None:
    assert resolve_model(f"org/sd-v1.1@{REVISION}") == (HubModel(repo="org/sd-v1.1", revision=REVISION), {})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "tinny",
            r'unknown model "tinny"; allowed: tiny, tiny-sm1, tiny-sm2, a folder in the diffusers layout, or org/.*; did you mean "tiny"',
        ),
        ("org/name", r"there is no folder org/name, and a model on the hub needs a pinned revision, .*40 hex digits; got none"),
        ("org/name@main", r'got revision "main"\. A branch or a tag can move.*git ls-remote https://huggingface.co/org/name HEAD'),
        ("org/name@0123abc", r'got revision "0123abc"'),
        (f"org/name@{REVISION.upper()}", r"got revision"),
        ("./no/such/folder", r"there is no model folder ./no/such/folder"),
        ("/no/such/folder", r"there is no model folder /no/such/folder"),
    ],
)
def test_an_unknown_model_says_what_is_allowed(value: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve_model(value)


def test_a_folder_that_is_no_pipeline_says_what_it_lacks(model: Path) -> None:
    (model / "vae" / "diffusion_pytorch_model.safetensors").rename(model / "vae" / "diffusion_pytorch_model.bin")
    with pytest.raises(InputError, match=r"vae/diffusion_pytorch_model.bin is a pickle"):
        resolve_model(str(model))
    with pytest.raises(InputError, match=r"has no model_index.json, so it is no model in the diffusers layout"):
        resolve_model(str(model / "unet"))


def test_planning_on_a_model_imports_no_torch(model: Path, tmp_path: Path) -> None:
    save_blip(tmp_path / "blip")
    asked = f"resolve_model('tiny'); resolve_model({str(model)!r}); resolve_model({str(tmp_path / 'blip')!r}, 'captioner')"
    code = f"import sys; from jobs.sources import *; {asked}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])


# --- the base stage ---


def test_a_model_folder_is_committed_without_what_the_pipeline_does_not_need(model: Path, tmp_path: Path) -> None:
    expected = files(model)
    content = folder_content(model)
    (model / "notes.txt").write_text("private")
    base.run(job(BaseStage(source=FolderModel(content=content)), tmp_path / "out", **{content: model}))
    assert files(tmp_path / "out") == expected


def test_the_packaged_model_is_committed_as_it_is(tmp_path: Path) -> None:
    source, _ = resolve_model("tiny")
    base.run(job(BaseStage(source=source), tmp_path / "out"))
    assert files(tmp_path / "out") == files(tiny.packaged("tiny"))


def test_a_model_that_changed_since_the_plan_is_refused(model: Path, tmp_path: Path) -> None:
    content = folder_content(model)
    path = model / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(InputError, match=r"the model in .*mine changed since the grid was planned; plan it again"):
        base.run(job(BaseStage(source=FolderModel(content=content)), tmp_path / "out", **{content: model}))


def test_a_model_that_is_not_here_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the model 0{12} is not here: plan the grid again on a machine that has its folder"):
        base.run(job(BaseStage(source=FolderModel(content="0" * 64)), tmp_path / "out"))
    with pytest.raises(InputError, match=r"the packaged model 'tiny' is not the one that was planned"):
        base.run(job(BaseStage(source=PackagedModel(name="tiny", content="0" * 64)), tmp_path / "out2"))


class Hub(BaseHTTPRequestHandler):
    """The two routes of a model hub that a download uses, over the files of one folder."""

    folder: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        tree, resolve = f"/api/models/org/name/tree/{REVISION}", f"/org/name/resolve/{REVISION}/"
        if self.path.startswith(tree):
            self.reply(json.dumps([self.entry(name, content) for name, content in files(self.folder).items()]).encode(), "tree", body)
        elif self.path.startswith(resolve) and self.path.removeprefix(resolve) in files(self.folder):
            name = self.path.removeprefix(resolve)
            self.asked.append(name)
            content = files(self.folder)[name]
            self.reply(content, self.entry(name, content)["oid"], body)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    @staticmethod
    def entry(name: str, content: bytes) -> dict[str, Any]:
        return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    def reply(self, content: bytes, etag: str, body: bool) -> None:
        self.send_response(200)
        for header, value in {"Content-Length": len(content), "ETag": f'"{etag}"', "X-Repo-Commit": REVISION}.items():
            self.send_header(header, str(value))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def hub(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """A hub on loopback that holds the model, with a pickle and code beside it."""
    (model / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    (model / "pipeline.py").write_text("raise SystemExit")
    (model / "unet" / "code.py").write_text("raise SystemExit")

    class Mine(Hub):
        folder, asked = model, []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Mine)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    yield Mine
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_hub_model_is_fetched_at_its_commit_without_pickles_and_code(hub: type[Hub], model: Path, tmp_path: Path) -> None:
    expected = {name: content for name, content in files(model).items() if not name.endswith((".bin", ".py"))}
    base.run(job(BaseStage(source=HubModel(repo="org/name", revision=REVISION)), tmp_path / "out"))
    assert files(tmp_path / "out") == expected
    assert hub.asked
    assert not any(name.endswith((".bin", ".py")) for name in hub.asked)


def test_a_safety_checker_is_fetched_without_the_networks_beside_it(hub: type[Hub], model: Path, tmp_path: Path) -> None:
    add_checker(model)
    spec = BaseStage(source=HubModel(repo="org/name", revision=REVISION), family="safety-checker")
    base.run(job(spec, tmp_path / "out"))
    assert set(files(tmp_path / "out")) == {
        "model_index.json",
        "safety_checker/config.json",
        "safety_checker/model.safetensors",
        "feature_extractor/preprocessor_config.json",
    }
    assert not any(name.startswith(("unet", "vae", "text_encoder")) for name in hub.asked)


def test_a_hub_model_without_a_checker_is_refused_when_its_files_are_there(hub: type[Hub], tmp_path: Path) -> None:
    spec = BaseStage(source=HubModel(repo="org/name", revision=REVISION), family="safety-checker")
    with pytest.raises(InputError, match="has no safety checker; choose a model that has one, or leave the safety checker off"):
        base.run(job(spec, tmp_path / "out"))


@pytest.mark.parametrize("where", ["folder", "hub"])
def test_a_clip_is_committed_with_what_it_takes_to_measure_images(where: str, hub: type[Hub], tmp_path: Path) -> None:
    save_clip(tmp_path / "clip", "CLIPModel")
    (tmp_path / "clip" / "pytorch_model.bin").write_bytes(b"pickle")
    hub.folder = tmp_path / "clip"
    source, folders = resolve_model(str(tmp_path / "clip") if where == "folder" else f"org/name@{REVISION}", "clip")
    base.run(job(BaseStage(source=source, family="clip"), tmp_path / "out", **folders))
    found = set(files(tmp_path / "out"))
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"} <= found
    assert "pytorch_model.bin" not in found
    assert load(ClipFeatures(), folder=tmp_path / "out").prompt_similarity([]) is not None


def test_a_clip_that_is_not_there_says_what_is_allowed(model: Path) -> None:
    with pytest.raises(InputError, match=r'unknown model "nowhere"; allowed: a folder in the transformers layout, or org/name@revision'):
        resolve_model("nowhere", "clip")
    with pytest.raises(InputError, match=r"has no config.json; a CLIP is a folder in the transformers layout"):
        resolve_model(str(model), "clip")


@pytest.mark.parametrize("where", ["folder", "hub"])
def test_a_captioner_is_committed_with_what_it_takes_to_caption(where: str, hub: type[Hub], tmp_path: Path) -> None:
    save_blip(tmp_path / "blip")
    for name in ("pytorch_model.bin", "modeling_blip.py", "tf_model.h5"):
        (tmp_path / "blip" / name).write_bytes(b"never read")
    hub.folder = tmp_path / "blip"
    source, folders = resolve_model(str(tmp_path / "blip") if where == "folder" else f"org/name@{REVISION}", "captioner")
    base.run(job(BaseStage(source=source, family="captioner"), tmp_path / "out", **folders))
    assert set(files(tmp_path / "out")) == {
        *("config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"),
    }
    assert load_captioner(BlipCaptioner(), folder=tmp_path / "out")([]) == []


def test_a_captioner_that_cannot_be_used_is_refused_while_planning(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'unknown model "nowhere"; allowed: a folder in the transformers layout, or org/name@revision'):
        resolve_model("nowhere", "captioner")
    with pytest.raises(InputError, match=r"has no config.json; a captioner is a folder in the transformers layout"):
        resolve_model(str(model), "captioner")
    with pytest.raises(InputError, match=r"a model on the hub needs a pinned revision"):
        resolve_model("org/name", "captioner")
    save_blip(tmp_path / "blip")
    (tmp_path / "blip" / "model.safetensors").rename(tmp_path / "blip" / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model.bin is a pickle, which can run code when it is read; allowed: safetensors"):
        resolve_model(str(tmp_path / "blip"), "captioner")


def test_a_model_that_the_hub_does_not_have_is_the_users_to_mend(hub: type[Hub], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"the hub has no org/other@{REVISION} \(or it is private and HF_TOKEN is not set\)"):
        base.run(job(BaseStage(source=HubModel(repo="org/other", revision=REVISION)), tmp_path / "out"))


def test_a_hub_that_does_not_answer_is_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # its pauses between attempts
    spec = BaseStage(source=HubModel(repo="org/name", revision=REVISION))
    with pytest.raises(OutOfReach, match=rf"the model hub cannot be reached for org/name@{REVISION}: .*copy the folder here"):
        base.run(job(spec, tmp_path / "out"))


# --- the data stage ---


def test_drawn_faces_are_committed(tmp_path: Path) -> None:
    from s2l_core.faces import IDENTITIES, records

    name = min(IDENTITIES)
    data.run(job(DataStage(source=DrawnFaces(identity=name, members=3, non_members=2)), tmp_path / "out"))
    assert read_images(tmp_path / "out" / "images.parquet") == records(name, seed=0, members=3, non_members=2)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    if orl_source() is None:
        pytest.skip("the ORL photographs are not here (../shared/data/orl_faces)")
    return build_orl_folder(tmp_path / "photos", people=["s1", "s2"])


def test_a_domain_of_a_folder_is_committed_and_its_bytes_depend_on_its_content_alone(photos: Path, tmp_path: Path) -> None:
    found = scan(photos)
    spec = DataStage(source=FolderImages(domain="s2", content=found.content("s2")))
    data.run(job(spec, tmp_path / "one", **{found.content("s2"): photos}))
    assert read_images(tmp_path / "one" / "images.parquet") == found.records("s2")
    moved = tmp_path / "moved"
    photos.rename(moved)
    data.run(job(spec, tmp_path / "two", **{found.content("s2"): moved}))
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_a_folder_that_changed_or_is_not_here_is_refused(photos: Path, tmp_path: Path) -> None:
    content = scan(photos).content("s2")
    spec = DataStage(source=FolderImages(domain="s2", content=content))
    with pytest.raises(InputError, match=r"the images of s2 are not here: plan the grid again on a machine that has their folder"):
        data.run(job(spec, tmp_path / "none"))
    shutil.copyfile(photos / "s2" / "1.pgm", photos / "s2" / "2.pgm")
    with pytest.raises(InputError, match=r"the images of s2 in .*photos changed since the grid was planned"):
        data.run(job(spec, tmp_path / "out", **{content: photos}))


@pytest.mark.parametrize(("name", "keep"), [("unet", 1000), ("vae", 0), ("text_encoder", -1)])
def test_a_weight_file_that_is_cut_short_is_refused_at_planning_by_its_name(model: Path, name: str, keep: int) -> None:
    (file,) = (model / name).glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(InputError, match=rf"{name}/\S+\.safetensors is no whole safetensors file: [\d,]+ bytes, .*download or save"):
        resolve_model(str(model))
