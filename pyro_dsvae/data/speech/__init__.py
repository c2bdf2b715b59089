"""Recordings of speech: how they are found, read, turned into spectra and back, labelled and cut."""
