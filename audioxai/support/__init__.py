"""What has nothing to do with sound: whole files, identities of values, optional packages, progress, the terminal."""
