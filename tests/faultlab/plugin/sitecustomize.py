"""Runs at the start of every Python process that a scenario starts: moves its clock, and switches guards off.

The service itself knows nothing of it. It is found because the lab puts this folder first on ``PYTHONPATH``.
"""

from __future__ import annotations

import os

if os.environ.get("FAULTLAB_CLOCK"):
    from tests.faultlab import clock

    clock.follow(os.environ["FAULTLAB_CLOCK"])
if os.environ.get("FAULTLAB_HOSTS"):
    from tests.faultlab import hosts

    hosts.follow(os.environ["FAULTLAB_HOSTS"])
if os.environ.get("FAULTLAB_TRUST"):
    import certifi

    certifi.where = lambda: os.environ["FAULTLAB_TRUST"]
if os.environ.get("FAULTLAB_OFF"):
    from tests.faultlab import guards_off

    for name in os.environ["FAULTLAB_OFF"].split(","):
        guards_off.PATCHES[name]()
