"""Readers: image files of any kind to arrays, with bounds on hostile files and errors that name the file."""
