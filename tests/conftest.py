"""What all tests share: property tests may take their time on a busy machine, and it is UTC everywhere."""

import os
import time

from hypothesis import settings

settings.register_profile("scorer", deadline=None)
settings.load_profile("scorer")

# a host's hours are local time
os.environ["TZ"] = "UTC"
time.tzset()
