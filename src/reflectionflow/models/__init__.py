"""Adapters to the outside world: each plays a role with somebody else's library, imported inside."""
