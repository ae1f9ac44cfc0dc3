"""Pure functions with state in and state out; the registry chooses the implementation."""
