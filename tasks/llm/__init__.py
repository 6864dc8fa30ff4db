"""The gateway to models, the servers that the factory starts, and the prompts."""
