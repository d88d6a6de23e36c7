"""The network to explain: front end, network and labels, with its latents, prompts, targets and saving."""
