"""Commands about who may do what: projects, tokens, keys, budgets, sessions."""
