"""What operators ask of a running installation and change in it; no worker imports it."""
