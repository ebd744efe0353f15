"""Real systemd hosts on one machine, for tests that mean what they say. See README.md beside this folder."""
