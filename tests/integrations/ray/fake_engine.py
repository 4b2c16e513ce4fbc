"""Ray with little memory, and workers that load fake encoders."""

import logging
import os
import sys
from functools import partial
from pathlib import Path

SHARDS = str(Path(__file__).parents[2] / "shards")
sys.path.insert(0, SHARDS)
os.environ["PYTHONPATH"] = os.pathsep.join([SHARDS, os.environ.get("PYTHONPATH", "")])  # of Ray's workers
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # no test may reach for a network
os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
# Where other tests have the cores: time to start, and no lower priority for workers.
os.environ |= {"RAY_agent_register_timeout_ms": "120000", "RAY_worker_niceness": "0"}

import fake_encoder  # noqa: E402
from ray_glot import RayEngine  # noqa: E402

MEMORY = 80 << 20  # of an object store, at least


class FakeEngine(RayEngine):
    def map(self, make, settings, items):
        return super().map(partial(fake_encoder.use_fake, make), settings, items)


def small_ray(**settings):
    """Ray on this machine, with two CPUs, or a cluster."""
    import ray

    # "local": otherwise Ray joins the cluster that a test beside this one has started.
    alone = {"address": "local", "num_cpus": 2, "object_store_memory": MEMORY, "include_dashboard": False}
    settings = settings or alone
    patiently(lambda: ray.init(logging_level=logging.ERROR, log_to_driver=False, **settings), ray.shutdown)


def patiently(start, undo=lambda: None, tries=4):
    """Start something that gives up after half a minute, as Ray does where other tests have the cores."""
    while True:
        tries -= 1
        try:
            return start()
        except Exception:
            undo()
            if not tries:
                raise
