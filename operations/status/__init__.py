"""Whether an installation is well: it is read once, and each check says what is wrong with it."""
