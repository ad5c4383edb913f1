"""Whether a running installation is well: what is seen of it, and what is wrong with that."""
