"""The actions of the command latents, one file each."""
