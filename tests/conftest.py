"""What every test shares: small trained networks on digits, kept between runs under MULLIGAN_CACHE."""

from __future__ import annotations

import pytest
import torch

# Networks this small gain nothing from threads, and lose much where other work shares the cores.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digit_nets():
    """`DigitNetworks`: clean and planted digits networks, data files, and Subjects for checks."""
    from digit_networks import DigitNetworks
    from loaded_examples import load_example

    return DigitNetworks(load_example("digits"))
