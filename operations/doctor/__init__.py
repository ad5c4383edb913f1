"""`feedmill doctor`: checks that read an installation, change nothing, and say what is wrong."""
