"""Training programs, one readable file each, over shared parts: configuration, the resumable loop, whitening."""
