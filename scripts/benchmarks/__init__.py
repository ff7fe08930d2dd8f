"""What is measured rather than tested: accuracy, speed, memory, behaviour under faults. See scripts/bench."""
