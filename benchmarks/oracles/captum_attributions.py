"""What Captum says of small seeded networks: the arrays that tests/attribution compares ours with.

Captum is an oracle of tests only, and no part of Mulligan: run this in an environment of its own.

    python3 -m venv /tmp/captum && /tmp/captum/bin/pip install torch==2.13.0 numpy safetensors packaging tqdm matplotlib
    /tmp/captum/bin/pip install --no-deps captum==0.9.0
    /tmp/captum/bin/python benchmarks/oracles/captum_attributions.py tests/attribution/captum.safetensors

The file holds each network's weights ("NETWORK/weight/..."), its input ("NETWORK/x") and, at each layer, what each of
Captum's methods gives ("NETWORK/METHOD/LAYER"), so that the comparison does not hang on how a version of torch draws
random numbers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEPS = 50  # of integrated gradients: Captum's default, by Gauss and Legendre
OUTPUT = 2  # the logit that is attributed


class Residual(nn.Module):
    """Convolutions, batch norm, a smooth nonlinearity, a skip connection: [n, 2, 7, 7] to [n, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.block = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        a = F.silu(self.norm(self.stem(x)))
        return self.head(torch.tanh(self.block(a) + a).mean((2, 3)))


class Rectified(nn.Module):
    """ReLUs and a maximum over places, kinks and all: [n, 2, 7, 7] to [n, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 5, 3), nn.Conv2d(5, 3, 2)
        self.act = nn.ReLU()
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        a = F.max_pool2d(self.act(self.first(x)), 2, ceil_mode=True)
        return self.head(self.act(self.second(a)).flatten(1))


NETWORKS = {"residual": (Residual, ("stem", "norm", "block")), "rectified": (Rectified, ("first", "second"))}


def build(name: str, weights: dict[str, Tensor] | None = None) -> nn.Module:
    """A network of this file, seeded or with these weights, in evaluation mode."""
    torch.manual_seed(len(name))
    module = NETWORKS[name][0]()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.6)
    if isinstance(module, Residual):
        module.norm.running_mean.normal_()
        module.norm.running_var.uniform_(0.5, 2)
    if weights is not None:
        module.load_state_dict(weights)
    return module.eval()


def said_by_captum(name: str) -> dict[str, Tensor]:
    """All that is compared of one network."""
    from captum.attr import (
        InputXGradient,
        IntegratedGradients,
        LayerActivation,
        LayerGradCam,
        LayerGradientXActivation,
        LayerIntegratedGradients,
    )

    module = build(name)
    x = torch.randn(3, 2, 7, 7, generator=torch.Generator().manual_seed(7))
    nothing = torch.full_like(x, 0.25)
    out = {f"{name}/weight/{key}": value for key, value in module.state_dict().items()}
    out |= {f"{name}/x": x, f"{name}/baseline": nothing}
    out[f"{name}/InputXGradient"] = InputXGradient(module).attribute(x.clone(), target=OUTPUT)
    out[f"{name}/IntegratedGradients"] = IntegratedGradients(module).attribute(
        x.clone(), nothing, target=OUTPUT, n_steps=STEPS
    )
    for layer in NETWORKS[name][1]:
        part = module.get_submodule(layer)
        out[f"{name}/LayerActivation/{layer}"] = LayerActivation(module, part).attribute(x)
        out[f"{name}/LayerGradientXActivation/{layer}"] = LayerGradientXActivation(module, part).attribute(
            x, target=OUTPUT
        )
        out[f"{name}/LayerGradCam/{layer}"] = LayerGradCam(module, part).attribute(x, target=OUTPUT)
        out[f"{name}/LayerIntegratedGradients/{layer}"] = LayerIntegratedGradients(module, part).attribute(
            x, nothing, target=OUTPUT, n_steps=STEPS
        )
    return {key: value.detach().contiguous() for key, value in out.items()}


def main() -> None:
    """Write the file that is named."""
    import captum
    from safetensors.torch import save_file

    arrays = {key: value for name in NETWORKS for key, value in said_by_captum(name).items()}
    versions = {"captum": captum.__version__, "torch": torch.__version__.partition("+")[0]}
    save_file(arrays, Path(sys.argv[1]), metadata=versions)


if __name__ == "__main__":
    main()
