"""One core, one loop, no locks: C, and thin Python over it."""
