"""What the management API serves: a module for each kind of thing."""
