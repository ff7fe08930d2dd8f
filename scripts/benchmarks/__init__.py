"""Measure rather than test: accuracy, speed, memory, behaviour under faults. See scripts/bench."""
