"""The vocabulary of feedmill: typed records, their validation, and their errors.  No I/O."""
