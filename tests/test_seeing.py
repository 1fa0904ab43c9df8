"""training.seeing: PSNR and SSIM of what the SR branch gives, against formulas by hand; the command on a small run."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

import train
from models.upsampling import bicubic_double
from training.checkpoint import checkpoints, read_network
from training.seeing import Seen, load_stage, main, quality, read_settings, stages_of
from training.settings import parse


def test_quality_against_the_formulas():
    rng = np.random.default_rng(0)
    target = gaussian_filter(rng.random((60, 80)), 2)
    image = np.clip(target + rng.normal(0, 0.05, target.shape), 0, 1)
    psnr, ssim = quality(image, target)
    assert psnr == pytest.approx(-10 * np.log10(((image - target) ** 2).mean()))

    def mean(x: np.ndarray) -> np.ndarray:  # Wang et al. 2004: an 11×11 Gaussian window, over where it lies inside
        return gaussian_filter(x, 1.5, radius=5)[5:-5, 5:-5]

    mx, my = mean(image), mean(target)
    vx, vy, cov = mean(image**2) - mx**2, mean(target**2) - my**2, mean(image * target) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    wanted = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim == pytest.approx(wanted.mean())


@pytest.fixture(scope="module")
def run(training_pairs, tmp_path_factory):
    """Two epochs, whose checkpoints are kept."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    start = parse([
        "--detector.encoder=lcnet_035", "--detector.width=8", "--detector.head_channels=[8,8]",
        "--detector.input_size=[64,64]", "--asrd.shallow_channels=8", "--asrd.fuse_channels=[8,8,8]",
        "--asrd.up_channels=[8,8,8]", "--encoder_weights=none", "--batch_size=2", "--epochs=2", "--device=cpu",
        "--data.validation=0.3", "--data.cache=null", "--optimiser.ema=0.9", "--data.dataset=folders",
        f"--data.images={training_pairs}/train-images", f"--data.masks={training_pairs}/train-labels",
        f"--output={folder}",
    ])  # fmt: skip
    assert train.train(start) == 0
    return folder


def test_the_command(run, tmp_path, capsys):
    main([str(run), "--output", str(tmp_path / "sr.png"), "--rows", "2"])
    head, _, _, *lines = capsys.readouterr().out.splitlines()
    assert head == "2 validation images of folders, luma"
    stages = ["bicubic", "step 2", "step 4", "best, epoch"]
    assert len(lines) == len(stages)
    assert all(line.startswith(stage) for line, stage in zip(lines, stages, strict=True))
    picture = Image.open(tmp_path / "sr.png")
    assert picture.width == 5 * (224 + 4) + 4

    seen = Seen(read_settings(run), 2)
    made = [seen.views(batch) for batch in seen.samples.in_batches(1)]
    wanted = [
        quality(bicubic_double(of["ycbcr"]).clamp(0, 1)[0, 0].numpy(), of["sr_target"][0, 0].numpy()) for of in made
    ]
    assert lines[0].split()[1:] == [f"{np.mean(wanted, 0)[0]:.2f}", f"{np.mean(wanted, 0)[1]:.4f}"]


def test_a_checkpoint_holds_what_the_run_writes(run):
    files = stages_of(run)
    assert [path.name for path in files[:2]] == [path.name for path in reversed(checkpoints(run))]
    _, of_checkpoint = load_stage(files[1])
    _, written = load_stage(run / "last.safetensors")
    ours, theirs = of_checkpoint.state_dict(), written.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert not of_checkpoint.training
    assert read_network(files[1])[0]["epochs"] == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["NOWHERE"], "is no run's folder"),
        (["RUN", "--weights", "NOWHERE"], "no such file"),
        (["RUN", "--rows", "0"], "at least 1"),
        (["RUN", "--host-file", "NOWHERE"], "no such file"),
    ],
)
def test_bad_input_is_one_line(arguments, says, run, tmp_path):
    arguments = [argument.replace("RUN", str(run)).replace("NOWHERE", str(tmp_path / "x")) for argument in arguments]
    with pytest.raises(SystemExit, match=says) as stopped:
        main([*arguments, "--output", str(tmp_path / "sr.png")])
    assert str(stopped.value).startswith("error: ")
    assert not (tmp_path / "sr.png").exists()
