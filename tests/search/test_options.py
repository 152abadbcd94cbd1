"""Options of strategies and strategy files: what they mean, what is refused, and that they are part of the identity."""

from __future__ import annotations

from importlib.resources import files

import pytest

from reflectionflow.errors import ConfigError, MisuseError
from reflectionflow.runtime import Role
from reflectionflow.search import presets, strategy, strategy_names
from reflectionflow.search.prompt import PROMPT
from reflectionflow.search.reflection import REFLECTION
from reflectionflow.types import StopReason
from tests.support.running import run_all, search
from tests.support.world import stack


def test_defaults_are_written_out_in_the_options_of_a_strategy():
    assert dict(REFLECTION.configured().options) == {
        "width": 2,
        "drafts": 4,
        "parent": "best",
        "rank": "edits",
        "reflect": True,
        "refine": False,
        "sure": 0.9,
        "accept": None,
        "see_verdict": True,
        "history": 3,
    }
    assert dict(PROMPT.configured(width=5).options)["parent"] == "latest"


def test_drafts_are_twice_the_chains_unless_given():
    assert dict(REFLECTION.configured(width=5).options)["drafts"] == 10
    assert dict(REFLECTION.configured(width=5, drafts=3).options)["drafts"] == 3


def test_options_are_part_of_a_searchs_identity_however_they_were_given():
    def identity(chosen):
        return search(strategy=chosen, images=4).id

    assert identity(strategy("reflection")) == identity(REFLECTION.configured(width=2, drafts=4, parent="best"))
    assert identity(strategy("reflection")) != identity(strategy("reflection", {"width": 3}))
    written_out = dict(strategy("release").options)
    assert identity(strategy("release")) == identity(strategy("reflection", written_out))


def test_every_refused_option_is_told_at_once():
    with pytest.raises(MisuseError) as caught:
        strategy("reflection", {"width": 0, "parent": "oldest", "acept": 0.5, "sure": 2})
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert all(line.startswith("strategy reflection: ") for line in lines)
    told = "\n".join(lines)
    for part in ("width = 0", "number of chains", "parent = 'oldest'", "(did you mean 'accept'?)", "sure = 2"):
        assert part in told


@pytest.mark.parametrize("width", [65, 512, 1024])
def test_a_width_in_pixels_is_refused_naming_the_size(width):
    with pytest.raises(MisuseError, match="the size of the pictures is --size"):
        strategy("prompt", {"width": width})


def test_a_strategy_without_options_refuses_all():
    with pytest.raises(
        MisuseError, match="noise takes no options, and got 'drafts'; it belongs to reflection and adap"
    ):
        strategy("noise", {"drafts": 4})


def test_an_option_of_other_strategies_is_refused_naming_them():
    with pytest.raises(MisuseError) as caught:
        strategy("adaptive", {"width": 3, "colour": "red", "parent": "best", "drafts": 0})
    told = str(caught.value).splitlines()
    assert sum("unknown option" in line for line in told) == 3
    assert told[-2:] == [
        f"{name} belongs to prompt and reflection; name one with --strategy" for name in ("width", "parent")
    ]
    assert any("drafts = 0 is refused" in line for line in told)


def test_the_shipped_strategy_files_load_and_are_counted():
    folder = files("reflectionflow") / "configs" / "strategies"
    names = [path.name.removesuffix(".toml") for path in folder.iterdir()]
    assert sorted(names) == list(presets.shipped()) == ["release"]
    assert set(names) < set(strategy_names())
    for name in names:
        text = (folder / f"{name}.toml").read_text(encoding="utf-8")
        assert text.startswith("# reflectionflow generate ")
        assert f"--strategy {name}" in text.splitlines()[0]
        assert presets.find(name)[1].name == name
        assert strategy(name).images


def test_the_releases_numbers():
    release = strategy("release")
    options = dict(release.options)
    assert release.name == "reflection"
    assert (options["width"], options["drafts"], options["parent"], options["rank"]) == (2, 32, "latest", "score")
    assert release.images == options["drafts"] + 16 * options["width"]
    assert release.needs == {Role.CORRECTOR, Role.REFLECTOR, Role.REFINER}


def test_the_releases_loop_runs_to_its_depth(tmp_path):
    release = strategy("release")
    result = run_all(tmp_path, [search(strategy=release, images=release.images)], stack())[0]
    assert max(step.place for step in result.steps) == (16, 1)
    assert len(result.steps) == 64
    assert result.stop is StopReason.BUDGET
    last = result.steps[-1]
    assert last.candidate.recipe.prompt == "a red star" + ", bright" * 16


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_what_the_user_says_goes_over_a_strategy_file(tmp_path):
    path = write(
        tmp_path / "wide.toml",
        'name = "wide"\ndescription = "w"\nstrategy = "reflection"\nimages = 40\n[options]\nwidth = 8\nhistory = 0\n',
    )
    chosen = strategy(path, {"width": 4})
    assert (dict(chosen.options)["width"], dict(chosen.options)["history"], chosen.images) == (4, 0, 40)
    assert strategy(str(path)).images == 40


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = ", "no valid TOML"),
        ('name = "x"\ndescription = "x"\n', "the option 'strategy' is missing"),
        ('name = "x"\ndescription = "x"\nstrategy = "reflexion"\n', "there is no strategy 'reflexion'"),
        ('name = "x"\ndescription = "x"\nstrategy = "release"\n', "there is no strategy 'release'"),
        ('name = "x"\ndescription = "x"\nstrategy = "noise"\nimages = 0\n', "images = 0 is refused"),
        ('name = "x"\ndescription = "x"\nstrategy = "noise"\nwidth = 2\n', "unknown option 'width'"),
        ('name = "x"\ndescription = "x"\nstrategy = "prompt"\n[options]\ndrafts = 2\n', "unknown option 'drafts'"),
    ],
)
def test_a_faulty_strategy_file_is_refused_with_its_fault(tmp_path, text, said):
    with pytest.raises(MisuseError, match=said):
        strategy(write(tmp_path / "mine.toml", text))


def test_faults_of_a_strategy_file_name_the_file(tmp_path):
    path = write(tmp_path / "mine.toml", 'name = "x"\n')
    with pytest.raises(ConfigError, match=r"mine\.toml has 2 problems"):
        strategy(path)
