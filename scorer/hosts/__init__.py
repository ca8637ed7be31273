"""Adapters: one way of speaking to a server each, behind the `Host` protocol of `base`."""
