"""The leak audit: what an adversary who holds a release, and not the ledger, can find in it."""
