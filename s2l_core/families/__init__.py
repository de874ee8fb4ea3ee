"""Model families: each file makes one kind of generative model speak the same words (text, latents, eps)."""
