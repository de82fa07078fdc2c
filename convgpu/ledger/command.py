"""What `convgpu ledger` does."""

from __future__ import annotations

import json as json_module

from ..explain import chosen_gpu
from ..files import UsageError, check_writable, replace
from . import largest_batch
from .networks import ALL


def run(network: str, batch: int, dtype: str, device: str | None, keras: bool, max_batch: bool, json: str | None,
        plot: str | None) -> int:
    """Print the ledger of one training step; write it, and its picture, where asked to. Returns the exit status."""
    if device is not None:
        try:
            chosen_gpu(device, "--device")
        except ValueError as error:
            raise UsageError(str(error)) from error
    if keras:
        from .keras_networks import keras_training_ledger as ledger_of
    else:
        from .networks import training_ledger as ledger_of
    if json is not None:
        check_writable(json, "--json")
    if plot is not None:
        from ..benchmark.report.plot import formats

        check_writable(plot, "--plot", formats())
    found = ledger_of(network, batch, dtype, device)
    through = " through Keras" if keras else ""
    title = f"{ALL[network].title}, batch {batch}, {dtype}: one step of training{through}"
    print(title)
    print(found)
    if max_batch:
        most = largest_batch(lambda n: ledger_of(network, n, dtype, device))
        print(f"largest batch that fits into {found.room / 1e9:.0f} GB of the {found.gpu.name}: {most}")
    if json is not None:
        settings = {"network": network, "batch": batch, "dtype": dtype, "keras": keras}
        replace(json, (json_module.dumps({**settings, **found.json()}, indent=1) + "\n").encode())
    if plot is not None:
        from .plot import draw

        draw(found, plot, title)
    return 0
