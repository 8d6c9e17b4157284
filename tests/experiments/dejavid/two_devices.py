"""Trains the tiny data on two devices, stopped after an epoch and resumed: `two_devices.py FOLDER`.

Prints the history and the test logits as JSON.
"""

import json
import os
import sys
from pathlib import Path

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import jax
import tiny_tse

from experiments.dejavid import training
from experiments.dejavid.steps import batch_mesh
from experiments.shared.checkpoints import Checkpoints
from experiments.shared.metrics_log import MetricsLog

if __name__ == "__main__":
    assert len(jax.devices()) == 2
    try:
        batch_mesh(7)
    except ValueError as error:
        print(error, file=sys.stderr)
    folder, save = Path(sys.argv[1]), Checkpoints.save

    def save_and_stop(self, *args):
        save(self, *args)
        raise KeyboardInterrupt

    with MetricsLog(folder / "metrics.jsonl") as log:
        run = tiny_tse.dataset(), tiny_tse.settings(epochs=2), "full", 0, folder / "run", log
        Checkpoints.save = save_and_stop
        try:
            training.train_run(*run)
        except KeyboardInterrupt:
            Checkpoints.save = save
        result = training.train_run(*run)
    print(json.dumps({"history": result.history, "logits": result.test_logits.tolist()}))
