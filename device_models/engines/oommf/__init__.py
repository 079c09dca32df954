"""OOMMF as an engine: unmodified, set up by ubermag, a batch of runs or a row of live nodes."""
