"""tools.inspect_sr: PSNR and SSIM of what the SR branch gives, against formulas by hand; the command on a small run."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from models.resize import bicubic_double
from tools.inspect_sr import Comparison, main, quality
from tools.run_networks import find_networks, load_network, read_config
from training.checkpoint import checkpoints, read_network


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


def test_the_command(trained_run, tmp_path, capsys):
    files = ["--output", str(tmp_path / "sr.png"), "--csv", str(tmp_path / "sr.csv")]
    main([str(trained_run), "--num-images", "2", *files])
    head, _, _, *lines = capsys.readouterr().out.splitlines()
    assert head == "2 validation images of folders, luma"
    stages = ["bicubic", "step 2", "step 4", "best, epoch"]
    assert len(lines) == len(stages)
    assert all(line.startswith(stage) for line, stage in zip(lines, stages, strict=True))
    table = pd.read_csv(tmp_path / "sr.csv")
    assert [f"{row.network:28} {row.PSNR:8.2f} {row.SSIM:7.4f}" for row in table.itertuples()] == lines
    picture = Image.open(tmp_path / "sr.png")
    assert picture.width == 5 * (224 + 4) + 4

    comparison = Comparison(read_config(trained_run), 2)
    made = [comparison.views(batch) for batch in comparison.samples.in_batches(1)]
    wanted = [
        quality(bicubic_double(of["ycbcr"]).clamp(0, 1)[0, 0].numpy(), of["sr_target"][0, 0].numpy()) for of in made
    ]
    assert lines[0].split()[1:] == [f"{np.mean(wanted, 0)[0]:.2f}", f"{np.mean(wanted, 0)[1]:.4f}"]


def test_a_checkpoint_holds_what_the_run_writes(trained_run):
    files = find_networks(trained_run)
    assert [path.name for path in files[:2]] == [path.name for path in reversed(checkpoints(trained_run))]
    _, of_checkpoint = load_network(files[1])
    _, written = load_network(trained_run / "last.safetensors")
    ours, theirs = of_checkpoint.state_dict(), written.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert not of_checkpoint.training
    assert read_network(files[1])[0]["epochs"] == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["NOWHERE"], "is no run's folder"),
        (["RUN", "--weights", "NOWHERE"], "no such file"),
        (["RUN", "--num-images", "0"], "at least 1"),
        (["RUN", "--host-file", "NOWHERE"], "no such file"),
    ],
)
def test_bad_input_is_one_line(arguments, says, trained_run, tmp_path):
    places = {"RUN": str(trained_run), "NOWHERE": str(tmp_path / "x")}
    arguments = [places.get(argument, argument) for argument in arguments]
    with pytest.raises(SystemExit, match=says) as stopped:
        main([*arguments, "--output", str(tmp_path / "sr.png")])
    assert str(stopped.value).startswith("error: ")
    assert not (tmp_path / "sr.png").exists()


def test_the_old_option_names_the_new_one(capsys):
    with pytest.raises(SystemExit):
        main(["RUN", "--output", "sr.png", "--rows", "2"])
    assert "--rows is now --num-images: use --num-images 2" in capsys.readouterr().err
