"""Real parts for tests: small models that truly play the roles, and programs that run searches."""
