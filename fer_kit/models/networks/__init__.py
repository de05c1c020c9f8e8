"""Networks for grey faces of 48 pixels, (B, 1, 48, 48) to logits (B, 7); `config.networks` lists them."""
