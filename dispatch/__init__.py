"""Drains the spool to where events are wanted. Knows backends, never flows."""
