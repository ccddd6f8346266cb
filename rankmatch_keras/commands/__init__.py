"""The commands of `rankmatch`, one file each."""
