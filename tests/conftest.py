"""What all tests share: property tests may take their time, since the machine they run on may be busy."""

from hypothesis import settings

settings.register_profile("scorer", deadline=None)
settings.load_profile("scorer")
