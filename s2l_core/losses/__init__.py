"""Losses of a fine-tuning, one file each: of the UNet's answer, of the autoencoder, and what they are asked about."""

from s2l_core.losses.terms import loss_of_terms

__all__ = ["loss_of_terms"]
