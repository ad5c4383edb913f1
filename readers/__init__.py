"""Readers: a page of a feed for one user, ranked when it is asked for."""
