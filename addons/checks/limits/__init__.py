"""The checks that hold a call against what its token and project may use."""
