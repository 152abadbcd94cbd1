from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from reflectionflow import roles, stack
from reflectionflow.errors import ConfigError, MisuseError

PLUGINS = Path(__file__).parent.parent / "plugins"


def _write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


HEAD = 'name = "mine"\ndescription = "a test"\n'
VERIFIER = '[verifier]\nmodel = "example-brightness"\n'


def test_an_installed_third_party_package_plays_its_roles(example_stack):
    loaded = stack.load(example_stack)
    assert isinstance(loaded.generator, roles.Generator)
    assert isinstance(loaded.verifier, roles.Verifier)
    assert loaded.generator.name == "example-discs@1"
    assert loaded.corrector is None


def test_the_same_package_is_found_by_dotted_path(example, tmp_path):
    text = HEAD + '[generator]\nmodel = "reflectionflow_example:DISCS"\ndiscs = 3\n' + VERIFIER
    loaded = stack.load(_write(tmp_path, text))
    assert loaded.generator.settings == {"discs": 3}


def test_a_stacks_defaults_go_over_the_generators(example_stack):
    assert stack.load(example_stack).defaults == roles.Defaults(width=64, height=64, steps=4, guidance=1.0)


def test_every_fault_of_a_file_is_reported_at_once(example, tmp_path):
    path = _write(
        tmp_path,
        'name = "mine"\nverifer = 1\n'
        '[generator]\nmodel = "example-discs"\ndisks = 3\nbatch_size = 0\n'
        '[corrector]\nmodel = "example-brightness"\n'
        '[refiner]\nmodel = "nobody"\n'
        '[reflector]\ncolour = "red"\n'
        "[defaults]\nwidth = -1\n",
    )
    with pytest.raises(ConfigError) as caught:
        stack.load(path)
    assert len(caught.value.problems) == 9
    text = str(caught.value)
    assert "description must be a text" in text
    assert "unknown key 'verifer' (did you mean 'verifier'?)" in text
    assert "unknown option 'disks' (did you mean 'discs'?); known are discs, batch_size" in text
    assert "batch_size = 0 is refused" in text
    assert "[corrector] the model 'example-brightness' plays verifier, not corrector" in text
    assert "[refiner] no model is called 'nobody'" in text
    assert "[reflector] does not say which model plays it" in text
    assert "width = -1 is refused" in text
    assert "the table [verifier] is missing" in text
    assert re.search(r"registered for it: .*example-brightness", text)


def test_files_missing_for_several_models_are_reported_together_with_faults(example, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGINS))
    path = _write(
        tmp_path,
        HEAD + 'colour = "red"\n[generator]\nmodel = "odd_models:WITH_FILE"\ncheckpoint = "a.bin"\n'
        '[verifier]\nmodel = "odd_models:VERIFIER_WITH_FILE"\ncheckpoint = "b.bin"\n',
    )
    with pytest.raises(ConfigError) as caught:
        stack.load(path)
    assert len(caught.value.problems) == 3
    assert f"[generator] the file {tmp_path / 'a.bin'} does not exist" in str(caught.value)
    assert f"[verifier] the file {tmp_path / 'b.bin'} does not exist" in str(caught.value)


def test_a_relative_path_starts_at_the_stack_file(example, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGINS))
    (tmp_path / "a.bin").write_bytes(b"weights")
    plan = stack.read(
        _write(tmp_path, HEAD + '[generator]\nmodel = "odd_models:WITH_FILE"\ncheckpoint = "a.bin"\n' + VERIFIER)
    )
    assert plan.missing() == []


def test_a_model_that_lacks_its_roles_method_is_refused_by_name(example, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGINS))
    path = _write(tmp_path, HEAD + '[generator]\nmodel = "odd_models:NOTHING"\n' + VERIFIER)
    with pytest.raises(ConfigError, match=r"\[generator\] Loaded lacks batch_size, capabilities, .*generate"):
        stack.load(path)


def test_a_generator_that_cannot_correct_is_refused_as_corrector(example, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGINS))
    (tmp_path / "stubborn.py").write_text(
        "from reflectionflow_example import DiscOptions, Discs\n"
        "from reflectionflow.stack import ModelSpec, Role\n"
        "SPEC = ModelSpec((Role.CORRECTOR,), DiscOptions, Discs)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    text = HEAD + '[generator]\nmodel = "example-discs"\n[corrector]\nmodel = "stubborn:SPEC"\n' + VERIFIER
    with pytest.raises(ConfigError, match="example-discs@1 cannot correct a picture"):
        stack.load(_write(tmp_path, text))


def test_one_model_in_two_roles_with_equal_options_is_loaded_once(example, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGINS))
    text = HEAD + '[generator]\nmodel = "example-discs"\n'
    text += '[verifier]\nmodel = "odd_models:CRITIC"\n[reflector]\nmodel = "odd_models:CRITIC"\n'
    loaded = stack.load(_write(tmp_path, text))
    assert loaded.verifier is loaded.reflector


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("odd_models:NO_SPEC", "is a int, and must be a reflectionflow.stack.ModelSpec"),
        ("odd_models:ABSENT", "cannot be imported"),
        ("no_such_package:SPEC", "No module named 'no_such_package'"),
        ("example-disks", r"did you mean 'example-discs'\?"),
    ],
)
def test_a_model_that_cannot_be_found_is_one_sentence(example, tmp_path, monkeypatch, model, said):
    monkeypatch.syspath_prepend(str(PLUGINS))
    with pytest.raises(ConfigError, match=said):
        stack.read(_write(tmp_path, HEAD + f'[generator]\nmodel = "{model}"\n' + VERIFIER))


def test_a_stack_that_is_no_toml_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="it is no valid TOML"):
        stack.read(_write(tmp_path, "name = "))


@pytest.mark.parametrize(
    ("name", "said"), [("scened", r"did you mean 'scenes'\?"), ("nowhere/x.toml", "there is no stack file")]
)
def test_a_stack_that_does_not_exist_names_those_that_do(name, said):
    with pytest.raises(MisuseError, match=said) as caught:
        stack.read(name)
    assert "scenes" in str(caught.value)


def test_every_shipped_stack_is_counted_and_begins_with_its_command():
    folder = Path(stack.__file__).parent / "configs" / "stacks"
    oracles = [f"scenes-oracle{role}" for role in ("", "-corrector", "-reflector", "-verifier")]
    assert stack.shipped() == ("scenes", "flux-dev", "flux-dev-clip", "flux-dev-vlm", *oracles)
    assert stack.shipped()[0] == stack.DEFAULT_STACK
    for name in stack.shipped():
        text = (folder / f"{name}.toml").read_text(encoding="utf-8")
        assert text.startswith("# reflectionflow ")
        assert f"--stack {name}" in text.splitlines()[0]
        parts = [part.role.value for part in stack.read(name).parts]
        chains = [] if name == "flux-dev-clip" else ["corrector", "reflector", "refiner"]
        assert parts == ["generator", "verifier", *chains]
        usual = "adaptive" if name.startswith("scenes") else "reflection"
        assert stack.read(name).defaults.strategy == (usual if chains else None)


def test_weights_that_several_roles_lack_are_named_once_with_all_of_them(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    lacks = stack.read("flux-dev").missing()
    assert len(lacks) == len(set(lacks)) == 3
    painters, speakers, adapter = lacks
    assert painters.startswith("[generator, corrector] black-forest-labs/FLUX.1-dev is not downloaded")
    assert adapter.startswith("[corrector] diffusion-cot/FLUX-Corrector is not downloaded")
    assert speakers.startswith("[verifier, reflector, refiner] Qwen/Qwen2.5-VL-7B-Instruct is not downloaded")
    assert list(stack.describe("flux-dev").faults) == lacks


@pytest.mark.parametrize("role", ["verifier", "reflector", "corrector"])
def test_an_oracle_takes_one_place_and_all_others_are_those_of_scenes(role):
    played = {part.role.value: part.model for part in stack.read("scenes").parts}
    instead = {part.role.value: part.model for part in stack.read(f"scenes-oracle-{role}").parts}
    every = {part.role.value: part.model for part in stack.read("scenes-oracle").parts}
    assert instead == {**played, role: every[role]} != played


def test_every_option_of_a_registered_model_is_described(example):
    for name in stack.registered():
        for option, field in stack.find_model(name).options.model_fields.items():
            assert field.description, f"{name}: {option}"


def test_reading_a_stack_loads_no_torch(example_stack):
    code = f"import sys; from reflectionflow import stack; stack.read({str(example_stack)!r}).missing(); "
    code += "print(sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
