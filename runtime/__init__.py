"""What users write and start: actors, state, messages, the layout, the arena, rings, the compiler, the launcher."""
