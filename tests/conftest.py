"""Settings of all tests."""

from hypothesis import settings

# Test machines are shared and noisy: how long one example takes says nothing.
settings.register_profile("llmproxy", deadline=None, print_blob=True)
settings.load_profile("llmproxy")
