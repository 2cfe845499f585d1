"""Drivers: what moves frames or bytes between a core and the world."""
