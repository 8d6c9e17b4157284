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

from experiments.dejavid.steps import batch_mesh
from experiments.dejavid.training import DejaVidRun
from experiments.shared.metrics_log import MetricsLog
from experiments.shared.run import train

if __name__ == "__main__":
    assert len(jax.devices()) == 2
    try:
        batch_mesh(7)
    except ValueError as error:
        print(error, file=sys.stderr)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for epochs in (1, 2):
        # The rates of the second call are those of the first: `settings` has the epochs in all.
        run = DejaVidRun(tiny_tse.dataset(), tiny_tse.settings(epochs=2), "full", 0)
        log = MetricsLog(folder / "metrics.jsonl")
        trained = train(run, folder / "run", log, epochs=epochs, keep=2, identity={})
    logits = trained.state.test_logits.tolist()
    sessions = [(session["epochs"], session["devices"]) for session in trained.sessions]
    print(json.dumps({"history": trained.history, "logits": logits, "sessions": sessions}))
