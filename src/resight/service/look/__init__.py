"""Pictures of what a network learned."""
