"""Models of the user's own: code for two frameworks, made comparable by their tensors' names."""
