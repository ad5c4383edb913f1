"""What operators ask of a running installation, for the commands to print; no worker imports it."""
