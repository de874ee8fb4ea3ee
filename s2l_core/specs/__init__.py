"""Specs: frozen values that say what to compute, as discriminated unions over `kind`. No torch here."""
