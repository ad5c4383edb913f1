"""What a change of settings would do, from a view that a command reads by itself."""
