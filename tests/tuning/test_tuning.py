"""Training: resumed equals uninterrupted, faults are told before a weight is made, whitening loses nothing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from reflectionflow.cli import app
from reflectionflow.errors import CheckpointError, ConfigError, MisuseError
from reflectionflow.scenes.world import Priors
from reflectionflow.tuning import clip, corrector, detector, generator, reflector, vae, verifier, words
from reflectionflow.tuning.config import OptimiserSection, read_config
from reflectionflow.tuning.latents import latents_of
from reflectionflow.tuning.loop import learning_rate, step_rng
from reflectionflow.tuning.states import latest_checkpoint

CONFIGS = Path(__file__).parents[2] / "configs" / "tuning"
KINDS = {
    "scenes-clip.toml": clip.ClipConfig,
    "scenes-detector.toml": detector.DetectorConfig,
    "scenes-vae.toml": vae.VaeConfig,
    "scenes-vae-decoder.toml": vae.VaeConfig,
    "scenes-generator.toml": generator.GeneratorConfig,
    "scenes-distil.toml": generator.GeneratorConfig,
    "scenes-words.toml": words.WordsConfig,
    "scenes.toml": corrector.CorrectorConfig,
    "scenes-corrector-distil.toml": corrector.CorrectorConfig,
    "scenes-vlm.toml": reflector.VlmConfig,
    "scenes-reward.toml": verifier.VerifierConfig,
}
OTHERS = {
    "flux-dev.toml": corrector.CorrectorConfig,
    "scenes-control.toml": corrector.CorrectorConfig,
    "scenes-control-distil.toml": corrector.CorrectorConfig,
    "scenes-smoke.toml": corrector.CorrectorConfig,
    "qwen-vl.toml": reflector.VlmConfig,
}


def nothing(*_):
    return None


def test_the_control_and_the_second_stage_see_what_the_corrector_sees():
    first, control, second = (
        read_config(CONFIGS / name, corrector.CorrectorConfig, []).model_dump()
        for name in ("scenes.toml", "scenes-control.toml", "scenes-corrector-distil.toml")
    )
    assert second["flow"] == first["flow"]
    for config in (first, control):
        for name in ("output", "state"):
            del config["run"][name]
        del config["condition"], config["data"]["unchanged"], config["flow"]["changed"]
    assert control == first
    own = {"latents", "drop_text", "unchanged"}
    assert {name: value for name, value in second["data"].items() if name not in own} == {
        name: value for name, value in first["data"].items() if name not in own
    }


def vae_config(folder, steps):
    return vae.VaeConfig.model_validate(
        {
            "run": {
                "steps": steps, "batch": 4, "output": str(folder / "model"), "state": str(folder / "state"),
                "checkpoint_every": 2, "sample_every": 100, "precision": "no",
            },
            "optimiser": {"learning_rate": 1e-3, "warmup": 2},
            "vae": {"channels": [8, 8, 8, 8], "latent_channels": 4, "groups": 4, "kl_from": 0.5},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vae")
    vae.run(vae_config(folder, 4))
    return folder


def losses(folder, step):
    return json.loads((folder / "state" / f"step-{step}" / "losses.json").read_text())


def test_a_resumed_autoencoder_has_the_losses_and_weights_of_an_uninterrupted_one(trained, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(trained, again)
    shutil.rmtree(again / "state" / "step-4")
    shutil.rmtree(again / "model")
    vae.run(vae_config(again, 4))
    assert losses(again, 4) == losses(trained, 4)
    name = "model/diffusion_pytorch_model.safetensors"
    assert (again / name).read_bytes() == (trained / name).read_bytes()


def test_a_decoder_tuned_alone_leaves_the_latents_and_what_it_starts_from_as_they_are(trained, tmp_path):
    import torch
    from diffusers import AutoencoderKL

    changes = {"run.output": tmp_path / "model", "run.state": tmp_path / "state", "vae.start": trained / "model"}
    config = read_config(
        CONFIGS / "smoke" / "scenes-vae-decoder.toml", vae.VaeConfig, [f"{k}={v}" for k, v in changes.items()]
    )
    vae.run(config)
    before, after = (AutoencoderKL.from_pretrained(folder / "model") for folder in (trained, tmp_path))
    shown = vae.to_tensor(vae.pictures(np.random.default_rng(4), 2))
    with torch.no_grad():
        first, second = (coder.encode(shown).latent_dist.mode() for coder in (before, after))
    assert torch.equal(first, second)
    assert not torch.equal(before.decoder.conv_out.weight, after.decoder.conv_out.weight)
    assert "_name_or_path" not in json.loads((tmp_path / "model" / "config.json").read_text())


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ({}, "give channels and latent_channels"),
        ({"start": "x", "latent_channels": 4}, "leave them out"),
        ({"channels": [8, 8, 8, 8], "latent_channels": 4, "noise": 0.1}, "noise is for tuning a decoder alone"),
    ],
)
def test_an_autoencoder_is_new_or_goes_on_from_another(section, fault):
    with pytest.raises(ValueError, match=fault):
        vae.VaeSection.model_validate(section)


def test_a_folder_without_an_autoencoder_is_refused_before_training(tmp_path):
    done = CliRunner().invoke(
        app, ["tune", "vae", str(CONFIGS / "smoke" / "scenes-vae-decoder.toml"), "--set", f"vae.start={tmp_path}"]
    )
    assert done.exit_code == 2
    assert "holds no autoencoder in diffusers layout" in " ".join(done.output.split())


def test_a_share_of_the_objects_is_made_white():
    colored, white = (vae.pictures(np.random.default_rng(4), 8, white=share) for share in (0.0, 1.0))
    paintings = [(pictures > 248).all(-1).mean() for pictures in (colored, white)]
    assert paintings[1] > paintings[0] + 0.02


def test_whitening_changes_the_latents_and_not_the_pictures():
    import torch

    torch.manual_seed(0)
    coder = vae.build(vae.VaeSection(channels=(8, 8, 8, 8), latent_channels=4, groups=4)).eval()
    with torch.no_grad():
        coder.encoder.conv_out.bias.zero_()
        rng = np.random.default_rng([3, 77])  # the very pictures whitening looks at, so that their mean is zero
        pictures = torch.cat([vae.to_tensor(vae.pictures(rng, 32)) for _ in range(4)])
        mean = coder.encode(pictures).latent_dist.mode().mean((0, 2, 3))
        coder.encoder.conv_out.bias[:4] -= mean
        before = coder.decode(coder.encode(pictures).latent_dist.mode()).sample
        vae.whiten(coder, seed=3, count=128)
        latents = coder.encode(pictures).latent_dist.mode()
        after = coder.decode(latents).sample
    flat = latents.permute(0, 2, 3, 1).flatten(0, 2)
    assert torch.allclose(torch.cov(flat.T), torch.eye(4), atol=1e-2)
    assert (before - after).abs().max() < 1e-3


def test_weighing_scales_channels_by_their_worth_and_not_the_pictures():
    import torch

    torch.manual_seed(0)
    coder = vae.build(vae.VaeSection(channels=(8, 8, 8, 8), latent_channels=4, groups=4)).eval()
    vae.whiten(coder, seed=3, count=64)
    with torch.no_grad():
        pictures = vae.to_tensor(vae.pictures(np.random.default_rng([3, 77]), 32))
        latents = coder.encode(pictures).latent_dist.mode()
        before = coder.decode(latents).sample
        vae.weigh(coder, seed=3)
        weighed = coder.encode(pictures).latent_dist.mode()
        after = coder.decode(weighed).sample
    scale = weighed.std((0, 2, 3)) / latents.std((0, 2, 3))
    assert (before - after).abs().max() < 1e-3
    assert scale.square().mean().item() == pytest.approx(1, abs=1e-3)
    assert scale.max() > 1.1 * scale.min()


def generator_config(folder, trained, steps, distil=None):
    run = {
        "steps": steps, "batch": 2, "output": str(folder / "model"), "state": str(folder / "state"),
        "checkpoint_every": 2, "sample_every": 100, "precision": "no",
    }  # fmt: skip
    data = {
        "run": run,
        "optimiser": {"learning_rate": 1e-3, "warmup": 2},
        "transformer": {"heads": 1, "head_size": 16, "double_blocks": 1, "single_blocks": 1, "text_width": 32},
        "data": {"vae": str(trained / "model"), "scenes": 8, "paddings": [1.0, 0.0, 0.0, 0.0]},
    }
    return generator.GeneratorConfig.model_validate(data | ({"distil": {"teacher": distil}} if distil else {}))


def test_scheduled_noise_levels_are_those_that_the_pipeline_paints_at():
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    torch.manual_seed(0)
    priors = generator.DataSection(vae="none", scenes=1, level=0.7, scheduled=1.0)
    drawn = priors.levels(20_000, torch.device("cpu")).sort().values
    assert drawn.min() > 0
    assert drawn.max() <= 1
    pipe = FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15)
    pipe.set_timesteps(sigmas=np.linspace(1, 1 / 20, 20), mu=calculate_shift(64))
    # Evenly over the steps: between two neighbouring noise levels of the pipeline lies a twentieth of the draws.
    between = torch.histogram(drawn, pipe.sigmas.flip(0)).hist / len(drawn)
    assert between.numpy() == pytest.approx(np.full(20, 0.05), abs=0.006)
    mixed = generator.DataSection(vae="none", scenes=1, level=0.7, scheduled=0.5).levels(20_000, torch.device("cpu"))
    assert (drawn > 0.935).double().mean() > (mixed > 0.935).double().mean() > 0.05


def test_a_resumed_generator_and_its_distillation_equal_uninterrupted_ones(trained, tmp_path):
    whole, cut, student = tmp_path / "whole", tmp_path / "cut", tmp_path / "student"
    generator.run(generator_config(whole, trained, 4))
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "state" / "step-4")
    generator.run(generator_config(cut, trained, 4))
    assert losses(cut, 4) == losses(whole, 4)
    generator.run(generator_config(student, trained, 2, str(whole / "model")))
    assert len(losses(student, 2)) == 2
    frozen = "text_encoder/model.safetensors"
    assert (student / "model" / frozen).read_bytes() == (whole / "model" / frozen).read_bytes()


def test_latents_computed_in_two_goes_equal_those_of_one(trained, tmp_path):
    from diffusers import AutoencoderKL

    coder = AutoencoderKL.from_pretrained(trained / "model").eval()
    whole = np.array(latents_of(coder, tmp_path / "a", 1, 96, Priors(), nothing))

    def stop(done, _count):
        if done == 64:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        latents_of(coder, tmp_path / "b", 1, 96, Priors(), stop)
    assert json.loads((tmp_path / "b" / "latents.json").read_text())["done"] == 64
    assert np.array_equal(np.array(latents_of(coder, tmp_path / "b", 1, 96, Priors(), nothing)), whole)


def test_checkpoints_are_compared_as_numbers(tmp_path):
    for name in ("step-8000", "step-10000", "step-900", "writing-20000"):
        (tmp_path / name).mkdir()
    assert latest_checkpoint(tmp_path).name == "step-10000"
    assert latest_checkpoint(tmp_path / "step-900") is None


def test_a_damaged_checkpoint_is_refused_by_name(trained, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(trained, again)
    (again / "state" / "step-4" / "ema.pt").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="step-4"):
        vae.run(vae_config(again, 6))


def test_a_checkpoint_of_another_configuration_is_refused_with_every_value_that_differs(trained, tmp_path):
    asked = vae_config(tmp_path, 6)
    shutil.copytree(trained / "state", tmp_path / "state")
    optimiser = asked.optimiser.model_copy(update={"beta2": 0.95, "ema": 0.5})
    other = asked.model_copy(
        update={"run": asked.run.model_copy(update={"batch": 2, "seed": 9}), "optimiser": optimiser}
    )
    with pytest.raises(MisuseError) as caught:
        vae.run(other)
    told = str(caught.value)
    for value in ("run.batch = 4 (now 2)", "run.seed = its default (now 9)", "optimiser.ema = its default (now 0.5)"):
        assert value in told
    assert "optimiser.beta2 = its default (now 0.95)" in told
    assert "learning_rate" not in told
    assert "put these values back to go on, or give another run.state" in told


def test_what_says_how_long_how_fast_and_where_may_change(trained, tmp_path):
    asked = vae_config(tmp_path, 6)
    shutil.copytree(trained / "state", tmp_path / "state")
    more = {"checkpoint_every": 3, "sample_every": 50, "log_every": 1, "threads": 1, "compile": False}
    run = asked.run.model_copy(update=more)
    slower = asked.optimiser.model_copy(update={"learning_rate": 1e-4, "clip": 0.5, "warmup": 1, "final": 0.5})
    vae.run(asked.model_copy(update={"run": run, "optimiser": slower}))
    assert losses(tmp_path, 6)[:4] == losses(trained, 4)


def test_a_checkpoint_that_says_nothing_of_its_configuration_goes_on(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "state" / "step-4")
    (tmp_path / "again" / "state" / "step-2" / "config.json").unlink()
    vae.run(vae_config(tmp_path / "again", 4))
    assert losses(tmp_path / "again", 4) == losses(trained, 4)


def test_every_step_and_process_draws_other_data():
    draws = {step_rng(1, step, rank).integers(2**40) for step in range(50) for rank in range(4)}
    assert len(draws) == 200
    assert step_rng(1, 7, 2).integers(2**40) == step_rng(1, 7, 2).integers(2**40)


def test_a_checkpoint_between_two_reports_does_not_make_steps_look_slow(monkeypatch):
    import torch
    from accelerate import Accelerator

    from reflectionflow.tuning import loop
    from reflectionflow.tuning.config import RunSection

    now, told = [0.0], []
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    run = RunSection(steps=40, batch=1, output="none", state="none", log_every=10, compile=True)
    log = loop._Log(Accelerator(cpu=True), run, [], told.append)
    for step in range(40):
        now[0] += 60.0 if step == 0 else 1.0  # the first step compiles
        log.add(step, torch.tensor(0.5), {})
        if step % 4 == 3:
            log.flush()  # as a checkpoint does
    assert [item.step for item in told] == [1, 11, 21, 31, 40]
    assert [item.seconds_per_step for item in told] == [60.0, 1.0, 1.0, 1.0, 1.0]
    assert [item.seconds_left for item in told] == [None, 29.0, 19.0, 9.0, 0.0]


def test_the_learning_rate_rises_linearly_and_falls_to_its_final_share():
    section = OptimiserSection(learning_rate=1.0, warmup=10, final=0.1)
    assert learning_rate(section, 0, 100) == pytest.approx(0.1)
    assert learning_rate(section, 9, 100) == pytest.approx(1.0)
    assert learning_rate(section, 100, 100) == pytest.approx(0.1)
    rates = [learning_rate(section, step, 100) for step in range(10, 100)]
    assert rates == sorted(rates, reverse=True)


def test_all_shipped_configurations_load_and_are_counted():
    for folder, kinds in ((CONFIGS, KINDS | OTHERS), (CONFIGS / "smoke", KINDS)):
        files = sorted(path.name for path in folder.glob("*.toml"))
        assert files == sorted(kinds)
        for name in files:
            config = read_config(folder / name, kinds[name])
            named = (folder / name).relative_to(CONFIGS.parents[1]).as_posix()
            assert (folder / name).read_text().splitlines()[0].endswith(named), "a configuration opens with its command"
            assert config.run.steps > 0


def test_all_faults_of_a_configuration_are_told_at_once(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('[run]\nsteps = 0\nbatch = 4\noutput = "a"\nstate = "b"\nspeed = 3\n[vae]\nlatent_channels = 4\n')
    with pytest.raises(ConfigError) as caught:
        read_config(path, vae.VaeConfig)
    told = str(caught.value)
    assert len(caught.value.problems) == 4
    assert all(part in told for part in ("run.steps: ", "run.speed: unknown key (did you mean 'seed'?); known are"))
    assert "The table [optimiser] is missing." in caught.value.problems
    new_or_started = "vae: give channels and latent_channels of a new autoencoder, or start, one to go on from."
    assert new_or_started in caught.value.problems
    path.write_text(path.read_text().replace("steps = 0", "step = 5") + "[optimizer]\nlearning_rate = 1.0\n")
    with pytest.raises(ConfigError) as caught:
        read_config(path, vae.VaeConfig)
    told = str(caught.value)
    assert "run.step: unknown key (did you mean 'steps'?); known are steps, batch" in told
    assert "optimizer: unknown table (did you mean 'optimiser'?)" in told
    assert "run.steps is missing; write `steps = ...` under [run]." in told
    with pytest.raises(ConfigError, match="does not exist"):
        read_config(tmp_path / "absent.toml", vae.VaeConfig)
    path.write_text("steps = = 3")
    with pytest.raises(ConfigError, match="TOML"):
        read_config(path, vae.VaeConfig)


def test_values_of_a_file_are_replaced_one_by_one(tmp_path):
    file = CONFIGS / "scenes-vae.toml"
    config = read_config(file, vae.VaeConfig, ["run.steps=7", "run.output=elsewhere", "vae.channels=[8, 8, 8, 8]"])
    assert (config.run.steps, config.run.output, config.vae.channels) == (7, "elsewhere", (8, 8, 8, 8))
    with pytest.raises(ConfigError) as caught:
        read_config(file, vae.VaeConfig, ["steps=7", "run.steps", "run.steps.more=1", "run.batch=0", "run.speed=1"])
    assert len(caught.value.problems) == 5


def test_batches_prepared_by_other_processes_are_the_same():
    import torch

    from reflectionflow.tuning.loop import batches

    run = vae_config(Path("unused"), 9).run
    data = vae.VaeData(whole_every=4)
    alone = [batch["pictures"] for batch in batches(data, run, 5, 0, 4)]
    helped = [batch["pictures"] for batch in batches(data, run.model_copy(update={"workers": 99}), 5, 0, 4)]
    assert len(alone) == 4
    assert all(torch.equal(first, second) for first, second in zip(alone, helped, strict=True))


def test_a_corrector_without_shards_is_refused_before_it_is_announced():
    asked = [
        "tune",
        "corrector",
        str(CONFIGS / "smoke" / "scenes-corrector-distil.toml"),
        "--set",
        'data.shards=["/nope"]',
    ]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 2
    assert (
        done.stderr
        == "Error: /nope does not exist; name shards (*.tar), or a folder of them; `genref build` makes one.\n"
    )
