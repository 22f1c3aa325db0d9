"""What a plugin sees: queries and images, descriptions, providers, hooks."""
